/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The instants between which the helper changes something. In the program they are nothing; the test build ends
 * at the one it was told to. */

typedef enum Step {
        STEP_NONE,
        STEP_START,      /* nothing attached */
        STEP_SEIZED,     /* attached, running */
        STEP_REQUESTED,  /* asked to stop */
        STEP_STOPPED,    /* stopped */
        STEP_READ,       /* state read, signal mask settled */
        STEP_WRITTEN,    /* the frame lies below the red zone */
        STEP_SUSPENDED,  /* the filter, if any, is suspended */
        STEP_DIVERTED,   /* registers point to the path */
        STEP_RESUMED,    /* runs on the path */
        STEP_ENTERED,    /* stopped at the entry of our call */
        STEP_CALLING,    /* runs our call */
        STEP_RETURNED,   /* stopped at its end */
        STEP_RESTORED,   /* registers are the interrupted ones */
        STEP_DETACHED,   /* on its own */
        _STEP_MAX,
} Step;

#ifdef MARK_TEST
void step_reached(Step step);
/* Ends the process and its parent at this step. */
void step_die_at(Step step);
#else
static inline void step_reached(Step step) {
        (void) step;
}
#endif
