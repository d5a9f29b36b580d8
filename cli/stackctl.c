/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cli/complain.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "common/text.h"

typedef struct Verb {
        const char *name;
        int min, max; /* arguments; max < 0: any number */
        int (*run)(const Invocation *invocation, char **arguments);
        const char *arguments, *help;
} Verb;

static const Verb verbs[] = {
        { "status", 0, 1, verb_status, "[WHAT]", "The stacks as trees, with depth, protection and hazards" },
        { "list", 1, 1, verb_list, "layers|processes|hazards", "One of them as a table" },
        { "show", 1, -1, verb_show, "WHAT...", "Every property of a layer or process" },
        { "explain", 1, -1, verb_explain, "WHAT...", "Why it has its depth, and what was chosen and done" },
        { "check", 0, 0, verb_check, "", "Hazards, worst first; exit status 1 if there are any" },
        { "plan", 0, -1, verb_plan, "[WHAT...]", "What would be changed, and why; changes nothing" },
        { "apply", 0, -1, verb_apply, "[WHAT...]", "Protect what needs it" },
        { "revert", 0, -1, verb_revert, "[WHAT...]", "Take protection off again" },
        { "adopt", 1, 1, verb_adopt, "UNIT", "Have a service start already protected (a drop-in)" },
        { "release", 0, 1, verb_release, "[UNIT]", "Undo 'adopt'; with --all for every unit" },
        { "cat-config", 0, 0, verb_cat_config, "", "The configuration that holds, with the files it is from" },
        { "reload", 0, 0, verb_reload, "", "Have stackd read its configuration again" },
        { "graph", 0, 1, verb_graph, "[WHAT]", "A picture of the stacks, for Graphviz or drawn by it" },
        { "monitor", 0, 0, verb_monitor, "", "What comes, changes and goes, one line an event" },
        { "metrics", 0, 0, verb_metrics, "", "Numbers for Prometheus, as OpenMetrics text" },
        { "capture", 1, 1, verb_capture, "FILE", "What stackd reads here, as a tar file to look at elsewhere" },
};

enum {
        OPTION_JSON = 256,
        OPTION_NO_PAGER,
        OPTION_NO_LEGEND,
        OPTION_DIRECT,
        OPTION_ROOT,
        OPTION_FORMAT,
        OPTION_NO_SCRUB,
        OPTION_VERSION,
        _OPTION_MAX,
};

typedef struct Option {
        int value;          /* a letter, or one of the above */
        const char *name, *argument;
        const char *verbs;  /* that take it, with blanks around; NULL: all */
        const char *help;
} Option;

static const Option options[] = {
        { OPTION_JSON, "json", "MODE", NULL, "Print JSON: short (one line), pretty or off" },
        { OPTION_NO_PAGER, "no-pager", NULL, NULL, "Do not page long output" },
        { OPTION_NO_LEGEND, "no-legend", NULL, NULL, "Leave out headers and explanations" },
        { OPTION_DIRECT, "direct", NULL, NULL, "Do not ask the running daemon: start a private one" },
        { OPTION_ROOT, "root", "DIR", NULL, "Look at the captured machine in DIR, not at this one" },
        { 'a', "all", NULL, " status graph release ", "status, graph: show what is not nested too" },
        { 'o', "output", "FILE", " graph metrics list ", "graph, metrics: write to FILE, whole or not at all" },
        { 'O', "output-all", NULL, " list ", "list: all columns" },
        { OPTION_FORMAT, "format", "FORMAT", " graph ", "graph: dot, svg, png or pdf; else as FILE ends, or dot" },
        { OPTION_NO_SCRUB, "no-scrub", NULL, " capture ", "capture: leave serial numbers and UUIDs in" },
        { 'h', "help", NULL, NULL, "Show this help" },
        { OPTION_VERSION, "version", NULL, NULL, "Show the version" },
};

static void print_options(Output *o) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *p = options + i;
                char letter[4] = "  ", name[64];

                if (p->value < 256)
                        snprintf(letter, sizeof(letter), "-%c", p->value);
                snprintf(name, sizeof(name), "%s%s%s", p->name, p->argument ? "=" : "", p->argument ?: "");
                output_raw(o, "  %s --%-17s %s\n", letter, name, p->help);
                if (p->value == 'a')
                        output_raw(o, "%25s%s\n", "", "release: every adopted unit");
                if (p->value == 'o')
                        output_raw(o, "%25s%s\n", "", "list: columns, such as id,where; +path adds one");
        }
}

static void print_verbs(Output *o) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                char usage[64];

                snprintf(usage, sizeof(usage), "%s %s", verbs[i].name, verbs[i].arguments);
                if (strlen(usage) <= 20)
                        output_raw(o, "  %-20s  %s\n", usage, verbs[i].help);
                else
                        output_raw(o, "  %s\n  %-20s  %s\n", usage, "", verbs[i].help);
        }
        output_raw(o, "  run [--] COMMAND...   Start a command that is an IO_FLUSHER from its beginning\n");
}

static int help(bool pager) {
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        r = output_new(&o);
        if (r < 0)
                return r;
        output_raw(o, "stackctl [OPTIONS...] [VERB [WHAT...]]\n\n"
                      "Show which file system, block device or process stands on which, and protect\n"
                      "the processes that serve storage from waiting on themselves.\n\nVerbs:\n");
        print_verbs(o);
        output_raw(o, "\nWithout a verb: status.\n\n"
                      "WHAT is an id ('stackctl list layers'), a device (dm-0, 253:0, /dev/mapper/x), a\n"
                      "mount point, a backing file, a pid or a unit. A path has a slash in it: ./image\n"
                      "\nOptions:\n");
        print_options(o);
        output_raw(o, "\n'capture' writes FILE, or standard output if that is -, compressed if its name ends\n"
                      "in .gz, .xz or .zst. Command lines are never read, serial numbers and UUIDs are\n"
                      "replaced. Paths, mount points, network addresses and the names of devices, commands\n"
                      "and units stay: read it before you send it. To look at it:\n"
                      "mkdir DIR && tar -xf FILE -C DIR && stackctl --root=DIR\n"
                      "\nExit status: 0 fine; 1 the answer is no (hazards were found, something failed\n"
                      "to be applied); 2 it could not be done.\n");
        return output_flush(o, pager);
}

static int version(void) {
        _cleanup_(output_freep) Output *o = NULL;
        int r;

        r = output_new(&o);
        if (r < 0)
                return r;
        output_raw(o, "stackctl %s\n", STACKD_VERSION);
        return output_flush(o, false);
}

/* Levenshtein's distance, for words short enough. */
static size_t word_distance(const char *a, const char *b) {
        size_t row[32], n = strlen(b);

        if (n >= ELEMENTSOF(row))
                return SIZE_MAX;
        for (size_t k = 0; k <= n; k++)
                row[k] = k;
        for (size_t i = 1; a[i - 1]; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t k = 1; k <= n; k++) {
                        size_t substituted = diagonal + (a[i - 1] != b[k - 1]);

                        diagonal = row[k];
                        row[k] = MIN(MIN(row[k], row[k - 1]) + 1, substituted);
                }
        }
        return row[n];
}

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (streq(verbs[i].name, name))
                        return verbs + i;
        return NULL;
}

static int complain_unknown_verb(const char *name) {
        const Verb *best = NULL;
        size_t distance = 3;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                size_t d = word_distance(name, verbs[i].name);

                if (strlen(name) >= 2 && startswith(verbs[i].name, name))
                        d = 0;
                if (d < distance && d < strlen(name)) {
                        distance = d;
                        best = verbs + i;
                }
        }
        if (best)
                return complain("Unknown command '%s'. Did you mean '%s'? See 'stackctl --help'.", name, best->name);
        return complain("Unknown command '%s'. See 'stackctl --help'.", name);
}

/* Whether the name stands among the words. */
static bool has_word(const char *words, const char *name) {
        size_t n = strlen(name);

        for (const char *p = words; (p = strstr(p, name)); p += n)
                if (p[-1] == ' ' && p[n] == ' ')
                        return true;
        return false;
}

/* An option that does nothing is a mistake of whoever gives it. */
static int check_options(const Verb *v, const bool *used) {
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *p = options + i;

                if (used[p->value] && p->verbs && !has_word(p->verbs, v->name))
                        return complain("'%s' takes no option '--%s', which is for:%.*s.", v->name, p->name, (int) strlen(p->verbs) - 1,
                                        p->verbs);
        }
        return 0;
}

static int dispatch(const Invocation *invocation, const bool *used, int n, char **arguments) {
        const Verb *v = find_verb(n > 0 ? arguments[0] : "status");
        int r;

        if (!v && streq(arguments[0], "run"))
                return complain("'run' comes first, before all options: stackctl run [--] COMMAND...");
        if (!v)
                return complain_unknown_verb(arguments[0]);
        if (n > 0) {
                arguments++;
                n--;
        }
        if (n < v->min)
                return complain("'%s' needs an argument: stackctl %s %s", v->name, v->name, v->arguments);
        if (v->max >= 0 && n > v->max)
                return complain("'%s' is one argument too many: stackctl %s%s%s", arguments[v->max], v->name,
                                *v->arguments ? " " : "", v->arguments);
        r = check_options(v, used);
        return r < 0 ? r : v->run(invocation, arguments);
}

static int parse_json_mode(const char *s, JsonMode *ret) {
        static const char *const names[_JSON_MAX] = {
                [JSON_OFF] = "off", [JSON_SHORT] = "short", [JSON_PRETTY] = "pretty",
        };

        for (JsonMode i = 0; i < _JSON_MAX; i++)
                if (streq(s, names[i])) {
                        *ret = i;
                        return 0;
                }
        return complain("Unknown mode '--json=%s'. There are: short, pretty, off.", s);
}

/* What getopt_long() is to know. */
static void make_getopt(struct option *list, char *letters) {
        *letters++ = ':';
        for (size_t i = 0; i < ELEMENTSOF(options); i++) {
                const Option *p = options + i;

                list[i] = (struct option) { p->name, p->argument ? required_argument : no_argument, NULL, p->value };
                if (p->value >= 256)
                        continue;
                *letters++ = (char) p->value;
                if (p->argument)
                        *letters++ = ':';
        }
        *letters = 0;
}

/* 1: to be run; 0: done already. */
static int parse_options(int argc, char **argv, Invocation *invocation, bool *used) {
        struct option list[ELEMENTSOF(options) + 1] = {};
        char letters[2 * ELEMENTSOF(options) + 2];
        int option, r;

        make_getopt(list, letters);
        opterr = 0;
        while ((option = getopt_long(argc, argv, letters, list, NULL)) >= 0) {
                used[option] = true; /* "?" and ":" too */
                switch (option) {
                case 'h':
                        return help(invocation->pager);
                case OPTION_VERSION:
                        return version();
                case OPTION_JSON:
                        r = parse_json_mode(optarg, &invocation->json);
                        if (r < 0)
                                return r;
                        break;
                case OPTION_NO_PAGER:
                        invocation->pager = false;
                        break;
                case OPTION_NO_LEGEND:
                        invocation->legend = false;
                        break;
                case OPTION_DIRECT:
                        invocation->direct = true;
                        break;
                case OPTION_ROOT:
                        invocation->root = optarg;
                        break;
                case 'a':
                        invocation->all = true;
                        break;
                case 'o':
                        invocation->output = optarg;
                        break;
                case 'O':
                        invocation->output_all = true;
                        break;
                case OPTION_FORMAT:
                        invocation->format = optarg;
                        break;
                case OPTION_NO_SCRUB:
                        invocation->scrub = false;
                        break;
                case ':':
                        return complain("Option '%s' needs a value. See 'stackctl --help'.", argv[optind - 1]);
                default:
                        if (optopt > 0 && optopt < 256)
                                return complain("Unknown option '-%c'. See 'stackctl --help'.", optopt);
                        return complain("Unknown option '%s', or a value it does not take. See 'stackctl --help'.",
                                        argv[optind - 1]);
                }
        }
        return 1;
}

/* So that nothing else takes a standard descriptor that the caller closed, and its use still fails. */
static int open_standard_descriptors(void) {
        for (int fd = 0; fd <= 2; fd++)
                if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
                        return -EBADF;
        return 0;
}

static int run(int argc, char **argv) {
        Invocation invocation = { .pager = true, .legend = true, .scrub = true };
        bool used[_OPTION_MAX] = {};
        int r;

        r = open_standard_descriptors();
        if (r < 0)
                return r;
        r = parse_options(argc, argv, &invocation, used);
        if (r <= 0)
                return r;
        return dispatch(&invocation, used, argc - optind, argv + optind);
}

int main(int argc, char **argv) {
        int r;

        /* A command inherits signals and descriptors: it gets them as they came. */
        if (argc > 1 && streq(argv[1], "run"))
                r = verb_run(argc - 1, argv + 1);
        else {
                setlocale(LC_ALL, "");
                signal(SIGPIPE, SIG_IGN);
                r = run(argc, argv);
        }
        if (r == -ENOMEM)
                complain("Out of memory.");
        else if (r < 0 && r != REPORTED && r != -EINTR)
                complain("%s.", strerror(-r));
        return r < 0 ? EXIT_TROUBLE : r;
}
