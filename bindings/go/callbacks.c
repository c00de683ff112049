#include "callbacks.h"
#include "_cgo_export.h"

int cloze_go_progress(void *user, uint64_t done, uint64_t total) {
    cloze_go_done data = { done, total };
    return clozeGoCallback(*(uintptr_t *)user, CLOZE_GO_PROGRESS, &data);
}

int cloze_go_observe(void *user, const cloze_train_event *event) {
    return clozeGoCallback(*(uintptr_t *)user, CLOZE_GO_OBSERVE, (void *)event);
}

int cloze_go_token(void *user, const cloze_new_token *token) {
    return clozeGoCallback(*(uintptr_t *)user, CLOZE_GO_TOKEN, (void *)token);
}
