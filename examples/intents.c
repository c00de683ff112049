/* What does somebody want? Learns it from a few sentences of each kind.  intents FOLDER OUT SENTENCE...
 *
 * Begins with any BERT in FOLDER, teaches it inside this program, saves what it became as the folder OUT, opens that, and
 * answers from it.
 *
 *     cc -std=c99 intents.c -lcloze -o intents
 */
#include <cloze.h>
#include <stdio.h>

static const struct { const char *sentence, *intent; } lessons[] = {
    { "wake me up at seven", "alarm" },
    { "set an alarm for six thirty", "alarm" },
    { "i need to get up at eight tomorrow", "alarm" },
    { "remind me to get up early", "alarm" },
    { "cancel my alarm for tomorrow", "alarm" },
    { "is my alarm on", "alarm" },
    { "ring the bell at noon", "alarm" },
    { "move the alarm to nine", "alarm" },
    { "do not wake me on sunday", "alarm" },
    { "turn off the alarm clock", "alarm" },
    { "play some jazz", "music" },
    { "put on my favourite song", "music" },
    { "i want to hear the beatles", "music" },
    { "skip this track", "music" },
    { "turn the volume up", "music" },
    { "who sings this song", "music" },
    { "play the new album again", "music" },
    { "shuffle my playlist", "music" },
    { "stop the music", "music" },
    { "play something quiet for dinner", "music" },
    { "book a flight to paris", "travel" },
    { "i need a hotel in london", "travel" },
    { "when does the train to berlin leave", "travel" },
    { "find me a cheap ticket to rome", "travel" },
    { "how far is it to the airport", "travel" },
    { "reserve a seat on the bus", "travel" },
    { "rent a car for the weekend", "travel" },
    { "is my plane on time", "travel" },
    { "two rooms for three nights", "travel" },
    { "show me the way to the station", "travel" },
    { "will it rain tomorrow", "weather" },
    { "how cold is it outside", "weather" },
    { "do i need an umbrella", "weather" },
    { "is it going to snow", "weather" },
    { "what is the forecast for friday", "weather" },
    { "how hot will it get in madrid", "weather" },
    { "is it windy at the sea", "weather" },
    { "when does the sun set", "weather" },
    { "is a storm coming", "weather" },
    { "what is the temperature now", "weather" },
};
enum { LESSONS = sizeof lessons / sizeof *lessons };

/* Told after every step of the training. */
static int watch(void *user, const cloze_train_event *event) {
    (void)user;
    if (event->kind == CLOZE_EVENT_STEP && (event->step % 50 == 0 || event->step == event->total))
        fprintf(stderr, "step %3.0f of %.0f, loss %.4f\n", (double)event->step, (double)event->total, event->loss);
    return 0; /* go on */
}

/* Teaches the model in one folder and saves what it became as another. */
static cloze_status teach(const char *folder, const char *out, cloze_error *error) {
    cloze_model *model = NULL;
    cloze_dataset *dataset = NULL;
    cloze_trainer *trainer = NULL;

    cloze_status status = cloze_model_open(folder, NULL, &model, error);
    if (!status) status = cloze_dataset_new(&dataset, error);
    for (size_t i = 0; !status && i < LESSONS; i++) {
        cloze_input sentence = cloze_text(lessons[i].sentence);
        cloze_target intent = cloze_label(lessons[i].intent);
        status = cloze_dataset_add(dataset, &sentence, &intent, 1, error);
    }

    cloze_train_options options = CLOZE_TRAIN_OPTIONS_INIT;
    options.trainable = CLOZE_TRAINABLE_TOP;
    options.layers = 2;
    options.epochs = 60;
    options.learning_rate = 5e-4f;
    options.warmup = 0.1;
    cloze_fit_options run = CLOZE_FIT_OPTIONS_INIT;
    run.observe = watch;
    if (!status) status = cloze_trainer_new(model, &options, dataset, &trainer, error);
    if (!status) status = cloze_trainer_fit(trainer, dataset, NULL, &run, NULL, error);
    if (!status) status = cloze_trainer_save(trainer, out, error);

    cloze_trainer_free(trainer);
    cloze_dataset_free(dataset);
    cloze_model_close(model);
    return status;
}

/* Prints the likeliest intent of a sentence. */
static cloze_status answer(const cloze_model *model, uint32_t labels, const char *sentence, cloze_error *error) {
    cloze_input input = cloze_text(sentence);
    float probabilities[64];
    char intent[64];
    size_t count, size;
    uint32_t best = 0;
    cloze_status status = cloze_classify(model, &input, 1, NULL, probabilities, 64, &count, error);
    for (uint32_t i = 1; !status && i < labels; i++)
        if (probabilities[i] > probabilities[best]) best = i;
    if (!status) status = cloze_model_label(model, best, intent, sizeof intent, &size, error);
    if (!status) printf("%-8s %.2f  %s\n", intent, probabilities[best], sentence);
    return status;
}

int main(int argc, char **argv) {
    cloze_error error;
    cloze_model *model = NULL;
    cloze_info info = CLOZE_INFO_INIT;
    if (argc < 4) {
        fprintf(stderr, "usage: intents FOLDER OUT SENTENCE...\n");
        return 2;
    }

    cloze_status status = teach(argv[1], argv[2], &error);
    if (!status) status = cloze_model_open(argv[2], NULL, &model, &error);
    if (!status) status = cloze_model_info(model, &info, &error);
    for (int i = 3; !status && i < argc; i++) status = answer(model, info.labels, argv[i], &error);
    if (status) fprintf(stderr, "intents: %s\n", error.message);

    cloze_model_close(model);
    return status != CLOZE_OK;
}
