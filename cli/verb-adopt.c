/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* adopt and release: a drop-in with which a service starts as an IO_FLUSHER, and what is mounted on it goes first. Only
 * ordering, no requirement, is added between units: nothing is started or stopped that would not have been. */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/adopt-files.h"
#include "cli/adopt-plan.h"
#include "cli/adopt-trial.h"
#include "cli/complain.h"
#include "cli/fetch.h"
#include "cli/model.h"
#include "cli/output.h"
#include "cli/service-unit.h"
#include "cli/verb.h"
#include "common/text-stream.h"
#include "common/text.h"
#include "common/unit-name.h"

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

/* ---- making them ---- */

/* A '%' in a name is a specifier to systemd. */
static void print_unit_name(FILE *f, const char *key, const char *name) {
        fprintf(f, "%s=", key);
        for (; *name; name++)
                fprintf(f, *name == '%' ? "%%%%" : "%c", *name);
        fputc('\n', f);
}

static int compose_service(const ServiceUnit *u, const AdoptPlan *p, const Stack *s, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        _cleanup_fclose_ FILE *f = text_stream_open(&text, &size);
        int r;

        if (!f)
                return -ENOMEM;
        fputs(ADOPT_MARKER "\n", f);
        if (s->n_below > 0)
                fputs("\n[Unit]\n# Its data: stopped before these are unmounted.\n", f);
        for (char **name = s->below; name && *name; name++)
                if (!streq(*name, "-.mount") && endswith(*name, ".mount"))
                        print_unit_name(f, "After", *name);
        fputs("\n[Service]\n", f);
        r = adopt_plan_print(p, u, f);
        if (r < 0)
                return r;
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
        return text_format(ADOPT_MARKER "\n\n[Unit]\n# Gone before that is stopped.\nAfter=%s\n%s", unit,
                           early ? "DefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n" : "");
}

static void report(Output *o, const char *what, const char *path) {
        output_raw(o, "%s ", what);
        output_text(o, path);
        output_raw(o, "\n");
}

static int write_uppers(sd_bus *bus, const Stack *s, const char *unit, Output *o) {
        for (char **mount = s->above; mount && *mount; mount++) {
                _cleanup_free_ char *path = adopt_upper_path(*mount, unit), *text = NULL;
                int r;

                if (!path)
                        return -ENOMEM;
                text = compose_upper(bus, *mount, unit);
                r = text ? adopt_file_write(path, text) : 0;
                if (r < 0)
                        return r;
                if (text)
                        report(o, "Wrote", path);
        }
        return 0;
}

/* ---- adopt ---- */

static int begin(const Invocation *invocation, const char *verb) {
        if (invocation->root || invocation->direct)
                return complain("'%s' is about this machine's systemd: without --root= and --direct.", verb);
        return geteuid() != 0 ? complain("Only root may change units. Run it as root.") : 0;
}

/* The settings of a template depend on the instance, and so do the mounts on it. */
static int complain_of_template(sd_bus *bus, const char *name) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ char *pattern = text_format("%.*s*.service", (int) (strlen(name) - strlen(".service")), name), *list = NULL;
        const char *instance;
        int r;

        if (!pattern)
                return -ENOMEM;
        r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "ListUnitsByPatterns", NULL, &reply, "asas", 0, 1, pattern);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'r', "ssssssouso")) > 0) {
                _cleanup_free_ char *before = list;

                r = sd_bus_message_read(reply, "s", &instance);
                list = r >= 0 ? text_format("%s%s%s", before ?: "", before ? ", " : "", instance) : NULL;
                if (r >= 0)
                        r = sd_bus_message_skip(reply, "sssssouso");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return complain("'%s' is a template. Adopt its instances, each by its name: %s.", name, list ?: "none is loaded now");
}

/* The name that systemd uses: a drop-in of an alias would be found too, but nothing else knows the unit by that name. */
static int resolve(sd_bus *bus, const char *what, char **ret) {
        _cleanup_free_ char *name = NULL, *canonical = NULL;
        int r;

        r = service_unit_name(what, &name);
        if (r >= 0 && strstr(name, "@."))
                return complain_of_template(bus, name);
        if (r >= 0)
                r = service_unit_canonical(bus, name, &canonical);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(canonical);
        return 0;
}

static int describe_name(Output *o, const char *what, const char *name) {
        _cleanup_free_ char *given = NULL;
        const char *at = strchr(name, '@');
        int r = service_unit_name(what, &given);

        if (r < 0)
                return r;
        if (!streq(given, name)) {
                output_text(o, given);
                output_raw(o, " is an alias of ");
                output_text(o, name);
                output_raw(o, ", which is adopted.\n");
        }
        if (at) {
                output_text(o, name);
                output_raw(o, " is adopted; other instances of its template are not.\n");
        }
        return 0;
}

static int compose(const Invocation *invocation, const ServiceUnit *unit, const AdoptPlan *plan, Stack *stack, char **ret) {
        int r;

        r = stack_read(invocation, unit->name, stack);
        if (r < 0)
                return r;
        if (strv_contains(stack->above, "-.mount") || strv_contains(stack->above, "usr.mount"))
                return complain("'%s' serves the root file system or /usr: it must be started in the initrd, and outlive everything, "
                                "which a drop-in cannot bring about.", unit->name);
        return compose_service(unit, plan, stack, ret);
}

/* Has systemd read them, and looks what it made of them. */
static int check_written(sd_bus *bus, const ServiceUnit *unit, const AdoptPlan *plan, const char *own) {
        _cleanup_(service_unit_done) ServiceUnit now = {};
        int r;

        r = service_units_reload(bus);
        if (r >= 0)
                r = service_unit_load(bus, unit->name, own, &now);
        return r < 0 ? r : adopt_plan_verify(plan, unit, &now, own);
}

static int write_all(sd_bus *bus, const ServiceUnit *unit, const AdoptPlan *plan, const char *own, const char *text, const Stack *stack, Output *o) {
        int r;

        r = adopt_file_write(own, text);
        if (r < 0)
                return r;
        report(o, "Wrote", own);
        r = write_uppers(bus, stack, unit->name, o);
        return r < 0 ? r : check_written(bus, unit, plan, own);
}

/* All but the first is undone by whoever calls it. */
static int adopt(const Invocation *invocation, sd_bus *bus, const char *name, Output *o) {
        _cleanup_free_ char *own = adopt_service_path(name), *text = NULL;
        _cleanup_(service_unit_done) ServiceUnit unit = {};
        _cleanup_(adopt_plan_done) AdoptPlan plan = {};
        _cleanup_(stack_done) Stack stack = {};
        int r;

        if (!own)
                return -ENOMEM;
        r = service_unit_load(bus, name, own, &unit);
        if (r >= 0)
                r = adopt_plan_make(&unit, &plan);
        if (r >= 0)
                r = compose(invocation, &unit, &plan, &stack, &text);
        if (r >= 0)
                r = adopt_trial(bus, &unit, &plan);
        return r < 0 ? r : write_all(bus, &unit, &plan, own, text, &stack, o);
}

/* What an earlier adoption brought is removed first: else it would be taken for the unit's own. It comes back if this one fails. */
static int adopt_anew(const Invocation *invocation, sd_bus *bus, const char *name, Output *o) {
        _cleanup_(adopt_files_done) AdoptFiles before = {}, written = {};
        int r;

        r = adopt_files_remove(name, &before);
        if (r >= 0 && before.n_paths > 0)
                r = service_units_reload(bus);
        if (r >= 0)
                r = adopt(invocation, bus, name, o);
        if (r >= 0)
                return 0;
        (void) adopt_files_remove(name, &written);
        (void) adopt_files_restore(&before);
        if (written.n_paths + before.n_paths > 0)
                (void) service_units_reload(bus);
        if (written.n_paths > 0)
                complain("The files that were written for it were removed again.");
        if (before.n_paths > 0)
                complain("'%s' stays adopted as it was before.", name);
        return r;
}

int verb_adopt(const Invocation *invocation, char **arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *name = NULL;
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        r = output_new(&o);
        if (r >= 0)
                r = begin(invocation, "adopt");
        if (r < 0)
                return r;
        r = sd_bus_open_system(&bus);
        if (r < 0)
                return complain("Cannot ask systemd: %s.", strerror(-r));
        r = resolve(bus, arguments[0], &name);
        if (r >= 0)
                r = describe_name(o, arguments[0], name);
        if (r >= 0)
                r = adopt_anew(invocation, bus, name, o);
        if (r < 0)
                return r;
        output_raw(o, "From its next start on it begins as an IO_FLUSHER: 'systemctl restart' when it suits.\n");
        r = output_flush(o, false);
        return r < 0 ? r : EXIT_FINE;
}

/* ---- release ---- */

static int remove_of(const char *what, sd_bus *bus, AdoptFiles *f) {
        _cleanup_free_ char *name = NULL, *canonical = NULL;
        int r;

        r = service_unit_name(what, &name);
        if (r >= 0)
                r = adopt_files_remove(name, f);
        if (r >= 0 && bus)
                r = service_unit_canonical(bus, name, &canonical);
        if (r >= 0 && canonical && !streq(canonical, name))
                r = adopt_files_remove(canonical, f);
        return r;
}

static int complain_not_adopted(const char *what, const AdoptFiles *f) {
        complain("'%s' was not adopted by stackctl; nothing to release.", what);
        for (char **path = f->foreign; path && *path; path++)
                complain("%s was not written by stackctl, and stays.", *path);
        return EXIT_NO;
}

/* Without systemd there is nothing to reload: in a chroot, while an image is built, in a rescue system. */
static int reload_if_there(sd_bus *bus) {
        if (!bus || sd_bus_get_name_creds(bus, SYSTEMD, 0, NULL) < 0) {
                complain("systemd cannot be reached, and was not reloaded. It reads the units when it starts the next time.");
                return 0;
        }
        return service_units_reload(bus);
}

int verb_release(const Invocation *invocation, char **arguments) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(adopt_files_done) AdoptFiles files = {};
        _cleanup_(output_freep) Output *o = NULL;
        int k = 0, r;

        r = output_new(&o);
        if (r >= 0)
                r = begin(invocation, "release");
        if (r < 0)
                return r;
        if (invocation->all == (arguments[0] != NULL))
                return complain("'release' needs either a unit or --all: stackctl release UNIT");
        if (sd_bus_open_system(&bus) < 0)
                bus = NULL;
        r = invocation->all ? adopt_files_remove(NULL, &files) : remove_of(arguments[0], bus, &files);
        for (char **path = files.paths; path && *path; path++)
                report(o, "Removed", *path);
        if (files.n_paths > 0)
                k = reload_if_there(bus);
        if (r < 0 || k < 0)
                return r < 0 ? r : k;
        if (files.n_paths == 0 && !invocation->all)
                return complain_not_adopted(arguments[0], &files);
        r = output_flush(o, false);
        return r < 0 ? r : EXIT_FINE;
}
