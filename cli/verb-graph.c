/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/complain.h"
#include "cli/fetch.h"
#include "cli/output-gap.h"
#include "cli/output-graph.h"
#include "cli/output.h"
#include "cli/save.h"
#include "cli/subprocess.h"
#include "cli/verb.h"
#include "common/file.h"
#include "common/text.h"

/* What Graphviz can make of it; DOT needs no Graphviz. */
static const struct {
        const char *name, *suffix;
        bool binary;
} formats[] = {
        { "dot", ".dot", false }, { "svg", ".svg", false }, { "png", ".png", true }, { "pdf", ".pdf", true },
};

/* The one asked for, else the one that the file is named after, else DOT. */
static int choose_format(const Invocation *invocation, size_t *ret) {
        const char *file = invocation->output;

        for (size_t i = 0; i < ELEMENTSOF(formats); i++)
                if (invocation->format ? streq(invocation->format, formats[i].name) : file && endswith(file, formats[i].suffix)) {
                        *ret = i;
                        return 0;
                }
        if (invocation->format)
                return complain("Unknown format '--format=%s'. There are: dot, svg, png, pdf.", invocation->format);
        if (file && !streq(file, "-") && !endswith(file, ".gv"))
                return complain("The name '%s' does not tell the format: let it end in .dot, .svg, .png or .pdf, or give --format=.",
                                file);
        *ret = 0;
        return 0;
}

static char *make_title(const Invocation *invocation, const Model *m) {
        _cleanup_free_ char *what = NULL;
        size_t n = 0, marked = 0;
        struct utsname names;
        time_t now = time(NULL);
        char when[64] = "";
        struct tm tm;

        if (invocation->root)
                what = text_format("the machine captured in %s", invocation->root);
        else if (uname(&names) >= 0 && gmtime_r(&now, &tm) && strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
                what = text_format("%s, %s", names.nodename, when);
        for (size_t i = m->n_layers; i < m->n_nodes; i++) {
                bool counts = m->nodes[i].depth > 0 && !m->nodes[i].recovery_only;

                n += counts;
                marked += counts && node_is_marked(m->nodes + i);
        }
        return text_format("Storage stacks of %s: %zu of %zu backing process%s marked, %zu hazard%s%s", what ?: "this machine", marked, n,
                           n == 1 ? "" : "es", m->n_hazards, m->n_hazards == 1 ? "" : "s", gap_count(m) > 0 ? " in what could be seen" : "");
}

static int render(const char *format, const char *text, size_t size, char **ret, size_t *ret_size) {
        _cleanup_free_ char *option = text_format("-T%s", format), *image = NULL;
        size_t image_size = 0;
        int status, r;

        if (!option)
                return -ENOMEM;
        /* The shell looks it up. */
        r = subprocess_filter((char *[]) { (char *) "/bin/sh", (char *) "-c", (char *) "exec dot \"$1\"", (char *) "sh", option, NULL },
                              text, size, &image, &image_size, &status);
        if (r < 0)
                return complain("Cannot run Graphviz: %s.", strerror(-r));
        if (WIFEXITED(status) && (WEXITSTATUS(status) == 127 || WEXITSTATUS(status) == 126))
                return complain("A picture in %s needs Graphviz, whose program dot is not installed or not in $PATH. Install the package "
                                "graphviz, or use --format=dot and draw it elsewhere.", format);
        if (WIFSIGNALED(status))
                return complain("Graphviz (dot -T%s) was ended by signal %i. Use --format=dot and draw it elsewhere.", format, WTERMSIG(status));
        if (WEXITSTATUS(status) != 0 || image_size == 0)
                return complain("Graphviz (dot -T%s) failed with status %i; its own messages, if any, stand above.", format,
                                WEXITSTATUS(status));
        *ret = TAKE_PTR(image);
        *ret_size = image_size;
        return 0;
}

static int deliver(const Invocation *invocation, const char *content, size_t size) {
        int r;

        if (invocation->output && !streq(invocation->output, "-"))
                return save_file(invocation->output, "picture", content, size, 0644);
        r = file_write_all(STDOUT_FILENO, content, size);
        if (r == -EPIPE)
                return REPORTED;
        return r < 0 ? complain("Cannot write to standard output: %s. The output is not complete.", strerror(-r)) : 0;
}

int verb_graph(const Invocation *invocation, char **arguments) {
        bool to_file = invocation->output && !streq(invocation->output, "-");
        _cleanup_free_ char *title = NULL, *text = NULL, *image = NULL;
        _cleanup_(model_freep) Model *m = NULL;
        size_t format = 0, size = 0, image_size = 0;
        int r;

        r = choose_format(invocation, &format);
        if (r >= 0 && to_file)
                r = save_check(invocation->output, "picture");
        if (r < 0)
                return r;
        if (formats[format].binary && !to_file && isatty(STDOUT_FILENO))
                return complain("A picture in %s is not written to a terminal. Give --output=FILE, or redirect standard output.",
                                formats[format].name);
        r = fetch_model(invocation, arguments[0], &m);
        if (r < 0)
                return r;
        title = make_title(invocation, m);
        if (!title)
                return -ENOMEM;
        r = output_graph(m, invocation->all || arguments[0], title, &text, &size);
        if (r >= 0 && format > 0)
                r = render(formats[format].name, text, size, &image, &image_size);
        if (r >= 0)
                r = deliver(invocation, image ?: text, image ? image_size : size);
        if (r < 0)
                return r;
        complain_about_gaps(m->document);
        return exit_with_gaps(m, EXIT_FINE);
}
