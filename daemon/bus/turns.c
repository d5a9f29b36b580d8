/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose call is next. The bus hands calls over in the order in which they were sent. So that a client with ten thousand of
 * them does not keep the others waiting, each call is put aside and let in when it is its turn: one at a time, a client's next
 * call after everybody else's. */
#include <errno.h>

#include "common/array.h"
#include "common/text.h"
#include "daemon/bus/bus-internal.h"

#define CALLS_MAX 64U                /* of one client, that wait; one of each where there are many of all */
#define ALL_CALLS_MAX 1024U
#define TEXT_MAX 16384U              /* bytes of arguments in a call that waits */
#define UNSENT_MAX 64U               /* answers that the bus has not taken off our hands */
#define UNSENT_WAIT_USEC (100 * 1000)

typedef struct Call {
        sd_bus_message *message;
        uint64_t turn;
        struct Call *next;
} Call;

struct Turns {
        BusServer *server;
        Call *first;             /* by turn */
        uint64_t turn;           /* of the call that was let in last */
        sd_bus_message *let_in;  /* the bus is about to hand it over again; not owned */
        sd_event_source *next, *wait;
};

static Call *call_free(Call *c) {
        sd_bus_message_unref(c->message);
        free(c);
        return NULL;
}

/* Clients that do not read their answers shall not fill our memory with them. */
static bool may_answer(struct Turns *t) {
        return bus_takes(t->server, UNSENT_MAX);
}

/* Whoever does not read is not told. */
static int refuse(struct Turns *t, sd_bus_message *m, const char *why) {
        int r = may_answer(t) ? sd_bus_reply_method_errorf(m, SD_BUS_ERROR_LIMITS_EXCEEDED, "%s", why) : 1;

        return r < 0 ? r : 1;
}

/* What our methods take. Any other call is let through, to be refused at once by sd-bus: it may be of any size, or have descriptors. */
static bool is_for_us(sd_bus_message *m) {
        static const char *const signatures[] = { "", "s", "as", "ss" };
        const char *signature = sd_bus_message_get_signature(m, true);

        for (size_t i = 0; signature && i < ELEMENTSOF(signatures); i++)
                if (streq(signature, signatures[i]))
                        return true;
        return false;
}

/* What it keeps in memory for as long as it waits. */
static int count_text(sd_bus_message *m, size_t *ret) {
        bool array = sd_bus_message_has_signature(m, "as") > 0;
        const char *text, *path = sd_bus_message_get_path(m);
        size_t n = path ? strlen(path) : 0;
        int r;

        r = array ? sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "s") : 0;
        while (r >= 0 && (r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &text)) > 0)
                n += strlen(text) + 8; /* its length, its end, and what aligns it */
        if (r < 0 && r != -ENXIO) /* which is the end of all arguments */
                return r;
        *ret = n;
        return sd_bus_message_rewind(m, true);
}

/* A client's calls are served in the order in which they came. */
static int put_aside(struct Turns *t, sd_bus_message *m) {
        const char *sender = sd_bus_message_get_sender(m);
        uint64_t turn = t->turn;
        unsigned n = bus_count_pending(t->server, sender), all = 0;
        Call *c, **at;

        for (c = t->first; c; c = c->next, all++)
                if (streq_ptr(sd_bus_message_get_sender(c->message), sender)) {
                        turn = MAX(turn, c->turn);
                        n++;
                }
        if (n >= (all < ALL_CALLS_MAX ? CALLS_MAX : 1))
                return refuse(t, m, "Too many calls wait already");
        c = malloc(sizeof(Call));
        if (!c)
                return -ENOMEM;
        turn++;
        for (at = &t->first; *at && (*at)->turn <= turn; at = &(*at)->next)
                ;
        *c = (Call) { .message = sd_bus_message_ref(m), .turn = turn, .next = *at };
        *at = c;
        return 1;
}

static int expect_next(struct Turns *t) {
        return t->first && !t->let_in ? sd_event_source_set_enabled(t->next, SD_EVENT_ONESHOT) : 0;
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        struct Turns *t = userdata;
        size_t n;
        int r;

        if (sd_bus_message_is_method_call(m, NULL, NULL) <= 0)
                return 0;
        if (m == t->let_in) {
                t->let_in = NULL;
                r = expect_next(t);
                return r < 0 ? r : 0;
        }
        if (!is_for_us(m) || count_text(m, &n) < 0)
                return 0; /* whoever reads it says what is wrong with it */
        if (n > TEXT_MAX)
                return refuse(t, m, "There is too much in this call");
        r = put_aside(t, m);
        if (r < 0)
                return r;
        r = expect_next(t);
        return r < 0 ? r : 1;
}

static int on_wait(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        return expect_next(userdata);
}

static int wait_for_bus(struct Turns *t) {
        int r = sd_event_source_set_time_relative(t->wait, UNSENT_WAIT_USEC);

        return r < 0 ? r : sd_event_source_set_enabled(t->wait, SD_EVENT_ONESHOT);
}

static int on_turn(sd_event_source *source _unused_, void *userdata) {
        struct Turns *t = userdata;
        Call *c = t->first;
        int r;

        if (!c || t->let_in)
                return 0;
        if (!may_answer(t))
                return wait_for_bus(t);
        t->first = c->next;
        t->turn = c->turn;
        r = sd_bus_enqueue_for_read(t->server->bus, c->message);
        if (r >= 0)
                t->let_in = c->message;
        else
                (void) sd_bus_reply_method_errnof(c->message, -r, "Cannot take this call: %s", strerror(-r));
        call_free(c);
        return r < 0 ? expect_next(t) : 0;
}

int bus_turns_new(BusServer *b) {
        struct Turns *t = calloc(1, sizeof(struct Turns));
        int r;

        if (!t)
                return -ENOMEM;
        b->turns = t;
        t->server = b;
        r = sd_event_add_defer(b->event, &t->next, on_turn, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->next, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(b->event, &t->wait, CLOCK_MONOTONIC, 0, 0, on_wait, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->wait, SD_EVENT_OFF);
        return r < 0 ? r : sd_bus_add_filter(b->bus, NULL, on_message, t);
}

void bus_turns_free(struct Turns *t) {
        if (!t)
                return;
        while (t->first) {
                Call *c = t->first;

                t->first = c->next;
                call_free(c);
        }
        sd_event_source_disable_unref(t->next);
        sd_event_source_disable_unref(t->wait);
        free(t);
}
