/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* adopt and release: a drop-in with which a service starts as an IO_FLUSHER, and what is mounted on it goes first. Only
 * ordering, no requirement, is added between units: nothing is started or stopped that would not have been. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/complain.h"
#include "cli/exec-line.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output.h"
#include "cli/service-unit.h"
#include "cli/verb.h"
#include "common/file.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "common/unit-name.h"

#define UNITS "/etc/systemd/system"
#define MARKER "# Written by 'stackctl adopt'; 'stackctl release' removes it."
#define CAPABILITY(c) (UINT64_C(1) << (c))

/* ---- what is above and below ---- */

/* Marks the nodes from which one of the unit's processes can be reached (above), or that can be reached from one. */
static int mark_stack(const Model *m, const char *unit, bool above, bool **ret) {
        bool *marked = calloc(m->n_nodes + 1, sizeof(bool)), changed = true;

        if (!marked)
                return -ENOMEM;
        for (size_t i = m->n_layers; i < m->n_nodes; i++)
                marked[i] = streq_ptr(m->nodes[i].unit, unit);
        while (changed) {
                changed = false;
                for (size_t i = 0; i < m->n_nodes; i++)
                        for (size_t k = 0; k < m->nodes[i].n_lower; k++) {
                                const Edge *e = &m->nodes[i].lower[k];
                                size_t from = above && e->node ? e->node->index : i, to = above || !e->node ? i : e->node->index;

                                if (!e->node || e->inferred || e->error_path || !marked[from] || marked[to])
                                        continue;
                                marked[to] = changed = true;
                        }
        }
        *ret = marked;
        return 0;
}

static int collect_unit(const char *path, const char *type, char ***ret, size_t *n) {
        _cleanup_free_ char *name = path && *path == '/' ? path_unit_name(path, type) : NULL;

        if (!path || *path != '/')
                return 0;
        if (!name)
                return -ENOMEM;
        return strlen(name) > 200 || strv_contains(*ret, name) ? 0 : strv_append(ret, n, name);
}

/* Units of marked file systems and swap areas. */
static int collect_units(const Model *m, const bool *marked, char ***ret, size_t *n) {
        for (size_t i = 0; i < m->n_layers; i++) {
                json_object *mounts = marked[i] && m->nodes[i].kind == NODE_FILESYSTEM ? json_array(m->nodes[i].json, "mounts") : NULL;
                int r = 0;

                if (marked[i] && m->nodes[i].kind == NODE_SWAP)
                        r = collect_unit(json_text(m->nodes[i].json, "path"), "swap", ret, n);
                for (size_t k = 0; r >= 0 && k < json_length(mounts); k++)
                        r = collect_unit(json_text_at(mounts, k), "mount", ret, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

typedef struct Stack {
        char **above, **below; /* units of mounts and swap areas */
        size_t n_above, n_below;
} Stack;

static void stack_done(Stack *s) {
        strv_free(s->above);
        strv_free(s->below);
}

static int stack_read(const Invocation *invocation, const char *unit, Stack *ret) {
        _cleanup_free_ bool *above = NULL, *below = NULL;
        _cleanup_(stack_done) Stack s = {};
        _cleanup_(model_freep) Model *m = NULL;
        int r;

        r = fetch_model(invocation, NULL, &m);
        if (r >= 0)
                r = mark_stack(m, unit, true, &above);
        if (r >= 0)
                r = mark_stack(m, unit, false, &below);
        if (r >= 0)
                r = collect_units(m, above, &s.above, &s.n_above);
        if (r >= 0)
                r = collect_units(m, below, &s.below, &s.n_below);
        if (r < 0)
                return r;
        *ret = s;
        s = (Stack) {};
        return 0;
}

/* ---- files ---- */

static char *drop_in_path(const char *unit, const char *file) {
        return text_format(UNITS "/%s.d/%s", unit, file);
}

/* Whether it is ours: 1; 0 not there; complains about one that is somebody else's. */
static int check_own(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        int r;

        if (fd < 0 && errno == ENOENT)
                return 0;
        r = fd < 0 ? -errno : file_read_fd(fd, 1024 * 1024, &text, NULL);
        if (r < 0)
                return complain("Cannot read %s: %s.", path, strerror(-r));
        return startswith(text, MARKER) ? 1 : complain("%s was not written by stackctl, and is left as it is.", path);
}

static int write_drop_in(const char *path, const char *text) {
        _cleanup_free_ char *directory = strndup(path, (size_t) (strrchr(path, '/') - path));
        int r;

        if (!directory)
                return -ENOMEM;
        r = check_own(path);
        if (r < 0)
                return r;
        r = mkdir(directory, 0755) < 0 && errno != EEXIST ? -errno : file_write_atomic(AT_FDCWD, path, text);
        if (r >= 0 && chmod(path, 0644) < 0)
                r = -errno;
        return r < 0 ? complain("Cannot write %s: %s.", path, strerror(-r)) : 0;
}

/* 1 if it was there. */
static int remove_drop_in(const char *path) {
        _cleanup_free_ char *directory = strndup(path, (size_t) (strrchr(path, '/') - path));
        int r;

        if (!directory)
                return -ENOMEM;
        r = check_own(path);
        if (r <= 0)
                return r;
        if (unlink(path) < 0)
                return complain("Cannot remove %s: %s.", path, strerror(errno));
        (void) rmdir(directory); /* unless somebody else uses it */
        return 1;
}

/* All that was written for the unit: 1 if there was something. */
static int remove_all(const char *unit) {
        _cleanup_free_ char *own = drop_in_path(unit, "50-stackd.conf"), *file = text_format("50-stackd-%s.conf", unit);
        _cleanup_closedir_ DIR *d = opendir(UNITS);
        struct dirent *de;
        int found, r;

        if (!own || !file)
                return -ENOMEM;
        found = r = remove_drop_in(own);
        while (r >= 0 && d && (de = readdir(d))) {
                _cleanup_free_ char *path = NULL;

                if (!endswith(de->d_name, ".mount.d") && !endswith(de->d_name, ".swap.d"))
                        continue;
                path = text_format(UNITS "/%s/%s", de->d_name, file);
                if (!path)
                        return -ENOMEM;
                r = remove_drop_in(path);
                found |= r > 0;
        }
        return r < 0 ? r : found;
}

/* ---- making them ---- */

static bool runs_as_root(const ServiceUnit *u) {
        return !u->dynamic_user && (!*u->user || streq(u->user, "root") || streq(u->user, "0"));
}

/* What of the capability the command gets is what it got before. */
static int choose_capability(const ServiceUnit *u, bool *ret_keep, const char **ret_lines) {
        bool bounded = !(u->bounding & CAPABILITY(CAP_SYS_RESOURCE));

        *ret_lines = "";
        if (u->private_users)
                return complain("'%s' has PrivateUsers=: the kernel asks for a capability in the initial user namespace, and so no "
                                "process in another can be marked.", u->name);
        *ret_keep = !bounded && (runs_as_root(u) || u->ambient & CAPABILITY(CAP_SYS_RESOURCE));
        if (*ret_keep)
                return 0;
        if (runs_as_root(u) && !(u->bounding & CAPABILITY(CAP_SETPCAP)))
                return complain("'%s' runs as root without CAP_SYS_RESOURCE and CAP_SETPCAP (CapabilityBoundingSet=): with the former "
                                "added for the start it could not be taken from it again. Add one of them.", u->name);
        *ret_lines = !bounded ? "AmbientCapabilities=CAP_SYS_RESOURCE\n"
                : runs_as_root(u) ? "CapabilityBoundingSet=CAP_SYS_RESOURCE\n"
                                  : "CapabilityBoundingSet=CAP_SYS_RESOURCE\nAmbientCapabilities=CAP_SYS_RESOURCE\n";
        return 0;
}

static int print_commands(FILE *f, const ServiceUnit *u, bool keep) {
        const char *wrapper = keep ? STACKCTL_PATH " run --try --keep-capability" : STACKCTL_PATH " run --try";
        _cleanup_strv_free_ char **lines = NULL;
        const char *wrong = NULL;
        size_t n = 0;
        int r;

        for (char **command = u->commands; *command; command++) {
                r = exec_line_wrap(*command, wrapper, &lines, &n, &wrong);
                if (r == -EINVAL)
                        return complain("ExecStart=%s of '%s' cannot be rewritten: %s.", *command, u->name, wrong);
                if (r < 0)
                        return r;
        }
        fputs("ExecStart=\n", f);
        for (size_t i = 0; i < n; i++)
                fprintf(f, "ExecStart=%s\n", lines[i]);
        return 0;
}

/* A '%' in a name is a specifier to systemd. */
static void print_unit_name(FILE *f, const char *key, const char *name) {
        fprintf(f, "%s=", key);
        for (; *name; name++)
                fprintf(f, *name == '%' ? "%%%%" : "%c", *name);
        fputc('\n', f);
}

static int compose_service(const ServiceUnit *u, const Stack *s, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        _cleanup_fclose_ FILE *f = NULL;
        const char *capability;
        bool keep;
        int r;

        r = choose_capability(u, &keep, &capability);
        if (r < 0)
                return r;
        f = text_stream_open(&text, &size);
        if (!f)
                return -ENOMEM;
        fputs(MARKER "\n", f);
        if (s->n_below > 0)
                fputs("\n[Unit]\n# Its data: stopped before these are unmounted.\n", f);
        for (char **name = s->below; name && *name; name++)
                if (!streq(*name, "-.mount") && endswith(*name, ".mount"))
                        print_unit_name(f, "After", *name);
        fputs("\n[Service]\n", f);
        r = print_commands(f, u, keep);
        if (r < 0)
                return r;
        fputs(capability, f);
        if (u->memory_min > 0 && u->memory_min != UINT64_MAX)
                fprintf(f, "# What it had reserved when it was adopted.\nMemoryMin=%lluM\n", (unsigned long long) (u->memory_min + 0xfffff) >> 20);
        if (u->oom_score_adjust == 0)
                fputs("OOMScoreAdjust=-900\n", f);
        if (streq(u->preference, "none"))
                fputs("ManagedOOMPreference=omit\n", f);
        if (fflush(f) != 0 || ferror(f))
                return -ENOMEM;
        f = (fclose(f), NULL);
        *ret = TAKE_PTR(text);
        return 0;
}

/* A mount that somebody made by hand is ordered before local-fs.target, swap before swap.target, and so before all services;
 * when all is stopped that would go round in a circle, which systemd breaks anywhere. */
static char *compose_upper(sd_bus *bus, const char *mount, const char *unit) {
        _cleanup_strv_free_ char **before = NULL;
        _cleanup_free_ char *fragment = NULL;
        bool early;

        if (unit_get_text(bus, mount, "FragmentPath", &fragment) < 0 || unit_get_texts(bus, mount, "Before", &before) < 0)
                return NULL;
        early = strv_contains(before, "local-fs.target") || strv_contains(before, "swap.target");
        if (early && *fragment)
                complain("%s (%s) is started before local services are, and so before %s. It is not ordered after it; give it the "
                         "option 'nofail' or '_netdev'.", mount, fragment, unit);
        if (early && *fragment)
                return NULL;
        return text_format(MARKER "\n\n[Unit]\n# Gone before that is stopped.\nAfter=%s\n%s", unit,
                           early ? "DefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n" : "");
}

static void report(Output *o, const char *what, const char *path) {
        output_raw(o, "%s ", what);
        output_text(o, path);
        output_raw(o, "\n");
}

static int write_uppers(sd_bus *bus, const Stack *s, const char *unit, Output *o) {
        _cleanup_free_ char *file = text_format("50-stackd-%s.conf", unit);

        for (char **mount = s->above; file && mount && *mount; mount++) {
                _cleanup_free_ char *path = drop_in_path(*mount, file), *text = NULL;
                int r;

                if (!path)
                        return -ENOMEM;
                text = compose_upper(bus, *mount, unit);
                r = text ? write_drop_in(path, text) : 0;
                if (r < 0)
                        return r;
                if (text)
                        report(o, "Wrote", path);
        }
        return file ? 0 : -ENOMEM;
}

/* ---- the verbs ---- */

static int begin(const Invocation *invocation, const char *verb, const char *what, char **ret_name, sd_bus **ret_bus) {
        int r;

        if (invocation->root || invocation->direct)
                return complain("'%s' is about this machine's systemd: without --root= and --direct.", verb);
        if (geteuid() != 0)
                return complain("Only root may change units. Run it as root.");
        r = service_unit_name(what, ret_name);
        if (r < 0)
                return r;
        r = sd_bus_open_system(ret_bus);
        return r < 0 ? complain("Cannot ask systemd: %s.", strerror(-r)) : 0;
}

/* What systemd cannot use must not stay. */
static int verify(sd_bus *bus, const char *name) {
        _cleanup_free_ char *state = NULL;
        int r;

        r = unit_get_text(bus, name, "LoadState", &state);
        if (r >= 0 && streq(state, "loaded"))
                return 0;
        (void) remove_all(name);
        (void) service_units_reload(bus);
        return complain("systemd did not take the drop-in (%s), and so it was removed again.", state ?: strerror(-r));
}

/* Without what an earlier adoption brought: else that would be taken for the unit's own. */
static int load_anew(sd_bus *bus, const char *name, const char *own, bool *ret_before, ServiceUnit *ret) {
        int found, r = 0;

        found = remove_all(name);
        if (found > 0)
                r = service_units_reload(bus);
        *ret_before = found > 0;
        return found < 0 ? found : r < 0 ? r : service_unit_load(bus, name, own, ret);
}

static int compose(const Invocation *invocation, const ServiceUnit *unit, Stack *stack, char **ret) {
        int r;

        r = stack_read(invocation, unit->name, stack);
        if (r < 0)
                return r;
        if (strv_contains(stack->above, "-.mount") || strv_contains(stack->above, "usr.mount"))
                return complain("'%s' serves the root file system or /usr: it must be started in the initrd, and outlive everything, "
                                "which a drop-in cannot bring about.", unit->name);
        return compose_service(unit, stack, ret);
}

static int write_all(sd_bus *bus, const char *name, const char *own, const char *text, const Stack *stack, Output *o) {
        int k, r;

        r = write_drop_in(own, text);
        if (r < 0)
                return r;
        report(o, "Wrote", own);
        r = write_uppers(bus, stack, name, o);
        if (r < 0)
                (void) remove_all(name);
        k = service_units_reload(bus);
        return r < 0 ? r : k < 0 ? k : verify(bus, name);
}

int verb_adopt(const Invocation *invocation, char **arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *name = NULL, *own = NULL, *text = NULL;
        _cleanup_(service_unit_done) ServiceUnit unit = {};
        _cleanup_(stack_done) Stack stack = {};
        _cleanup_(output_freep) Output *o = NULL;
        bool before = false;
        int r;

        r = output_new(&o);
        if (r >= 0)
                r = begin(invocation, "adopt", arguments[0], &name, &bus);
        if (r < 0)
                return r;
        own = drop_in_path(name, "50-stackd.conf");
        if (!own)
                return -ENOMEM;
        r = load_anew(bus, name, own, &before, &unit);
        if (r >= 0)
                r = compose(invocation, &unit, &stack, &text);
        if (r >= 0)
                r = write_all(bus, name, own, text, &stack, o);
        if (r < 0 && before)
                complain("'%s' had been adopted before, and is not any more.", name);
        if (r < 0)
                return r;
        output_raw(o, "From its next start on it begins as an IO_FLUSHER: 'systemctl restart' when it suits.\n");
        r = output_flush(o, false);
        return r < 0 ? r : EXIT_FINE;
}

int verb_release(const Invocation *invocation, char **arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *name = NULL;
        int found, r;

        r = begin(invocation, "release", arguments[0], &name, &bus);
        if (r < 0)
                return r;
        found = remove_all(name);
        if (found < 0)
                return found;
        if (found == 0) {
                complain("'%s' was not adopted: there is no " UNITS "/%s.d/50-stackd.conf.", name, name);
                return EXIT_NO;
        }
        r = service_units_reload(bus);
        return r < 0 ? r : EXIT_FINE;
}
