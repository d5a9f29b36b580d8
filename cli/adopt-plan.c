/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel lets a process become an IO_FLUSHER only if it has CAP_SYS_RESOURCE at that moment. Where a service has not got
 * it, systemd hands it to all commands of the unit (AmbientCapabilities=), so all of them are started by stackd-run, which
 * takes it away again; only those of ExecStart= are marked. The prefixes '+' and '!' would do it for one command, but '+'
 * drops the whole sandbox, and with '!' stackd-run would have to do all that User= means, beneath a SystemCallFilter=
 * that lets no one change users. */

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

#include "cli/adopt-plan.h"
#include "cli/complain.h"
#include "common/text-stream.h"
#include "common/text.h"

#define CAPABILITY(c) (UINT64_C(1) << (c))
#define RESOURCE CAPABILITY(CAP_SYS_RESOURCE)
#define SETPCAP CAPABILITY(CAP_SETPCAP)
#define SECURE_NOROOT 1
#define KEEPING STACKD_RUN_PATH " --try --keep-capability"

void adopt_plan_done(AdoptPlan *p) {
        free(p->start);
        free(p->helper);
        *p = (AdoptPlan) {};
}

/* ---- making it ---- */

static int refuse(const ServiceUnit *u) {
        if (u->private_users)
                return complain("'%s' cannot be adopted: it has PrivateUsers=, and the kernel marks no process in a user namespace of "
                                "its own. Nothing was changed.", u->name);
        if (*u->apparmor)
                return complain("'%s' cannot be adopted: its AppArmorProfile=%s is in force from the first program on, which would be "
                                STACKD_RUN_PATH ". Remove that setting, and let AppArmor attach the profile to the server's path; or "
                                "leave the marking to stackd.", u->name, u->apparmor);
        if (*u->selinux || access("/sys/fs/selinux/enforce", F_OK) == 0)
                return complain("'%s' cannot be adopted: SELinux gives a service its domain by the first program, which would be "
                                STACKD_RUN_PATH ". Leave the marking to stackd.", u->name);
        return 0;
}

static bool has_powers_of_root(const ServiceUnit *u) {
        return !u->dynamic_user && (!*u->user || streq(u->user, "root") || streq(u->user, "0")) && !(u->secure_bits & SECURE_NOROOT);
}

/* To take a capability out of the bounding set again, CAP_SETPCAP is needed. */
static void add_capabilities(const ServiceUnit *u, AdoptPlan *p) {
        bool bounded = !(u->bounding & RESOURCE);

        if (bounded)
                p->bounding = (RESOURCE | SETPCAP) & ~u->bounding;
        if (!has_powers_of_root(u))
                p->ambient = (bounded ? RESOURCE | SETPCAP : RESOURCE) & ~u->ambient;
}

static const char *capability_names(uint64_t set, char separator) {
        if (set == RESOURCE)
                return "CAP_SYS_RESOURCE";
        if (set == SETPCAP)
                return "CAP_SETPCAP";
        return separator == ',' ? "CAP_SYS_RESOURCE,CAP_SETPCAP" : "CAP_SYS_RESOURCE CAP_SETPCAP";
}

static int make_wrappers(AdoptPlan *p) {
        _cleanup_free_ char *drops = NULL;
        uint64_t both = p->ambient | p->bounding;

        if (!both) {
                p->start = strdup(KEEPING);
                return p->start ? 0 : -ENOMEM;
        }
        drops = text_format(" --drop=%s%s%s", capability_names(both, ','), p->bounding ? " --drop-bounding=" : "",
                            p->bounding ? capability_names(p->bounding, ',') : "");
        p->start = drops ? text_format(STACKD_RUN_PATH " --try%s", drops) : NULL;
        p->helper = drops ? text_format(STACKD_RUN_PATH " --unmarked --try%s", drops) : NULL;
        return p->start && p->helper ? 0 : -ENOMEM;
}

int adopt_plan_make(const ServiceUnit *u, AdoptPlan *ret) {
        AdoptPlan p = { .exec_path = u->no_exec_paths };
        int r;

        r = refuse(u);
        if (r < 0)
                return r;
        add_capabilities(u, &p);
        for (NeededCall i = 0; i < _CALL_MAX; i++)
                p.calls[i] = u->forbidden[i] && (i == CALL_PRCTL || p.ambient | p.bounding);
        r = make_wrappers(&p);
        if (r < 0)
                adopt_plan_done(&p);
        else
                *ret = p;
        return r;
}

Wrapper adopt_plan_wrapper(const AdoptPlan *p, CommandKind kind) {
        return kind == EXEC_START ? (Wrapper) { p->start, KEEPING } : (Wrapper) { p->helper, NULL };
}

int adopt_plan_words(const AdoptPlan *p, CommandKind kind, const Command *c, char ***ret) {
        Wrapper w = adopt_plan_wrapper(p, kind);
        const char *wrapper = command_has_flag(c, "privileged") ? w.privileged : w.ordinary;
        _cleanup_free_ char *copy = wrapper ? strdup(wrapper) : NULL;
        _cleanup_strv_free_ char **words = NULL;
        char *save = NULL;
        size_t n = 0;
        int r = 0;

        if (wrapper && !copy)
                return -ENOMEM;
        for (char *word = copy ? strtok_r(copy, " ", &save) : NULL; word && r >= 0; word = strtok_r(NULL, " ", &save))
                r = strv_append(&words, &n, word);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(words);
        return 0;
}

/* ---- printing it ---- */

static int print_commands(const AdoptPlan *p, const ServiceUnit *u, CommandKind kind, FILE *f) {
        const CommandList *list = u->commands + kind;
        Wrapper wrapper = adopt_plan_wrapper(p, kind);
        _cleanup_strv_free_ char **lines = NULL;
        const char *wrong = NULL;
        size_t n = 0;
        int r;

        if (!wrapper.ordinary || list->n_lines == 0)
                return 0;
        for (size_t i = 0; i < list->n_lines; i++) {
                r = exec_line_wrap(list->lines[i], &wrapper, &lines, &n, &wrong);
                if (r == -EINVAL)
                        return complain("%s=%s of '%s' cannot be rewritten: %s. Nothing was changed.", command_key(kind), list->lines[i],
                                        u->name, wrong);
                if (r < 0)
                        return r;
        }
        fprintf(f, "%s=\n", command_key(kind));
        for (size_t i = 0; i < n; i++)
                fprintf(f, "%s=%s\n", command_key(kind), lines[i]);
        return 0;
}

int adopt_plan_print(const AdoptPlan *p, const ServiceUnit *u, FILE *f) {
        bool filtered = false;
        int r = 0;

        for (CommandKind k = 0; r >= 0 && k < _COMMAND_MAX; k++)
                r = print_commands(p, u, k, f);
        if (r < 0)
                return r;
        if (p->ambient | p->bounding)
                fputs("# For stackd-run, which drops them before it starts a command.\n", f);
        if (p->bounding)
                fprintf(f, "CapabilityBoundingSet=%s\n", capability_names(p->bounding, ' '));
        if (p->ambient)
                fprintf(f, "AmbientCapabilities=%s\n", capability_names(p->ambient, ' '));
        for (NeededCall i = 0; i < _CALL_MAX; i++)
                if (p->calls[i]) {
                        fprintf(f, "%s%s", filtered ? " " : "SystemCallFilter=", needed_call_name(i));
                        filtered = true;
                }
        if (filtered)
                fputs("\n", f);
        if (p->exec_path)
                fputs("ExecPaths=" STACKD_RUN_PATH "\n", f);
        return 0;
}

/* ---- what has become of it ---- */

/* systemd leaves out slashes that are one too many, in the paths of programs. */
static bool same_path(const char *a, const char *b) {
        while (*a && *b) {
                if (*a++ != *b++)
                        return false;
                if (a[-1] == '/') {
                        a += strspn(a, "/");
                        b += strspn(b, "/");
                }
        }
        return *a == *b;
}

/* Whether 'now' is the words, and then the command. */
static bool is_wrapped(char *const *words, const Command *command, const Command *now) {
        char **a = now->arguments, **rest;

        if (!same_path(now->path, words[0]) || !strv_equal(command->flags, now->flags) || !command->arguments)
                return false;
        for (char *const *w = words; *w; w++, a++)
                if (!a || !*a || !streq(*w, *a))
                        return false;
        rest = command->arguments + 1;
        if (*a && streq(*a, "--argv0")) {
                rest--;
                a++;
        }
        return *a && streq(*a, "--") && a[1] && same_path(a[1], command->path) && strv_equal(rest, a + 2);
}

static bool is_same(const Command *command, const Command *now) {
        return same_path(command->path, now->path) && strv_equal(command->arguments, now->arguments) && strv_equal(command->flags, now->flags);
}

/* A drop-in that is read after ours, as far as systemd says. */
static const char *find_later(const ServiceUnit *u, const char *own) {
        for (char **d = u->drop_ins; d && *d; d++)
                if (streq(*d, own))
                        return d[1];
        return NULL;
}

static int complain_of_commands(CommandKind kind, const ServiceUnit *u, const char *own) {
        const char *later = find_later(u, own);

        if (later)
                return complain("'%s' cannot be adopted: %s is read after %s, and changes %s=. Give it a name that sorts before "
                                "zz-stackd.conf.", u->name, later, own, command_key(kind));
        return complain("'%s' cannot be adopted: systemd does not start the commands of %s= as they were written to %s.", u->name,
                        command_key(kind), own);
}

static int verify_commands(const AdoptPlan *p, CommandKind kind, const ServiceUnit *before, const ServiceUnit *after, const char *own) {
        const CommandList *was = before->commands + kind, *is = after->commands + kind;

        if (was->n_commands != is->n_commands)
                return complain_of_commands(kind, after, own);
        for (size_t i = 0; i < was->n_commands; i++) {
                _cleanup_strv_free_ char **words = NULL;
                int r = adopt_plan_words(p, kind, was->commands + i, &words);

                if (r < 0)
                        return r;
                if (!(words ? is_wrapped(words, was->commands + i, is->commands + i) : is_same(was->commands + i, is->commands + i)))
                        return complain_of_commands(kind, after, own);
        }
        return 0;
}

int adopt_plan_verify(const AdoptPlan *p, const ServiceUnit *before, const ServiceUnit *after, const char *own) {
        if (!strv_contains(after->drop_ins, own))
                return complain("'%s' cannot be adopted: systemd does not read %s.", before->name, own);
        for (CommandKind k = 0; k < _COMMAND_MAX; k++) {
                int r = verify_commands(p, k, before, after, own);

                if (r < 0)
                        return r;
        }
        if (after->ambient != (before->ambient | p->ambient) || after->bounding != (before->bounding | p->bounding))
                return complain("'%s' cannot be adopted: systemd has other capabilities for it than were written to %s (AmbientCapabilities=, "
                                "CapabilityBoundingSet=). %s%s", before->name, own, find_later(after, own) ?: "", find_later(after, own) ? " is read after it." : "");
        for (NeededCall i = 0; i < _CALL_MAX; i++)
                if (p->calls[i] && after->forbidden[i])
                        return complain("'%s' cannot be adopted: its SystemCallFilter= still forbids %s().", before->name, needed_call_name(i));
        return 0;
}
