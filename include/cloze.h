#define CLOZE_ABI 1
