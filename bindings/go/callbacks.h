/* Functions of the C interface's callback types, which go on to Go. */
#ifndef CLOZE_GO_CALLBACKS_H
#define CLOZE_GO_CALLBACKS_H

#include <cloze.h>

enum { CLOZE_GO_PROGRESS, CLOZE_GO_OBSERVE, CLOZE_GO_TOKEN };

typedef struct cloze_go_done {
    uint64_t done;
    uint64_t total;
} cloze_go_done;

/* "user" points to the uintptr_t of a runtime/cgo.Handle. */
int cloze_go_progress(void *user, uint64_t done, uint64_t total);
int cloze_go_observe(void *user, const cloze_train_event *event);
int cloze_go_token(void *user, const cloze_new_token *token);

#endif
