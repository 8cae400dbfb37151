#include "arbiter/answer_cache.h"

#include "base/clock.h"

/* Answers may take 1/TIME_SHARE of the arbiter's time. */
#define TIME_SHARE 20
/* Limit of saved time: about 50 ms of work at once. */
#define CREDIT_MAX_NS (50 * (int64_t)DIRTY_NS_PER_MS)
/* Always make a new answer if the last one is older than this. */
#define AGE_MAX_NS (1000 * DIRTY_NS_PER_MS)

static void refill(answer_cache *k, uint64_t now_ns) {
    if (k->credited_ns == 0)
        k->credit_ns = CREDIT_MAX_NS;
    else
        k->credit_ns += (int64_t)((now_ns - k->credited_ns) / TIME_SHARE);
    if (k->credit_ns > CREDIT_MAX_NS)
        k->credit_ns = CREDIT_MAX_NS;
    k->credited_ns = now_ns;
}

const dirty_buf *answer_cache_get(answer_cache *k, answer_kind kind,
                                  void (*make)(void *ctx, dirty_buf *out), void *ctx) {
    dirty_buf *text = &k->answers[kind].text;
    uint64_t now_ns = dirty_now_ns();
    bool usable = text->len > 0 && !dirty_buf_failed(text) &&
                  now_ns - k->answers[kind].made_ns < AGE_MAX_NS;
    refill(k, now_ns);
    if (usable && k->credit_ns <= 0)
        return text;
    if (dirty_buf_failed(text))
        dirty_buf_deinit(text);
    text->len = 0;
    make(ctx, text);
    k->answers[kind].made_ns = now_ns;
    k->credit_ns -= (int64_t)(dirty_now_ns() - now_ns);
    return text;
}

void answer_cache_deinit(answer_cache *k) {
    for (int i = 0; i < ANSWER_KINDS; i++)
        dirty_buf_deinit(&k->answers[i].text);
}
