/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One object for each layer and process, made from the graph at the moment someone asks. */
#include <errno.h>
#include <string.h>

#include "common/log.h"
#include "common/text.h"
#include "daemon/bus/bus-internal.h"

#define LAYER_PREFIX BUS_PATH "/layer"
#define PROCESS_PREFIX BUS_PATH "/process"
#define LAYER_INTERFACE BUS_NAME ".Layer"
#define PROCESS_INTERFACE BUS_NAME ".Process"

static bool is_process(const char *id) {
        return startswith(id, "process:");
}

static int node_path(const char *id, char **ret) {
        return sd_bus_path_encode(is_process(id) ? PROCESS_PREFIX : LAYER_PREFIX, id, ret);
}

static int find_node(sd_bus *bus _unused_, const char *path, const char *interface, void *userdata, void **ret_found, sd_bus_error *error _unused_) {
        _cleanup_free_ char *id = NULL;
        BusServer *b = userdata;
        bool process = streq(interface, PROCESS_INTERFACE);
        Node *n;
        int r;

        r = sd_bus_path_decode(path, process ? PROCESS_PREFIX : LAYER_PREFIX, &id);
        if (r <= 0)
                return r;
        n = graph_find(b->view.graph, id);
        if (!n || is_process(id) != process || (process && !n->fact))
                return 0;
        *ret_found = n;
        return 1;
}

static int enumerate(const BusServer *b, bool processes, char ***ret) {
        _cleanup_strv_free_ char **paths = NULL;
        size_t n = 0, position = 0;
        Node *node;

        while ((node = graph_next(b->view.graph, &position))) {
                _cleanup_free_ char *path = NULL;
                int r;

                if (is_process(node->id) != processes || (processes && !node->fact))
                        continue;
                r = node_path(node->id, &path);
                if (r >= 0)
                        r = strv_append(&paths, &n, path);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(paths);
        return 0;
}

/* 'prefix' is what the caller looks below, and may be above ours (GetManagedObjects()). */
static int enumerate_layers(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret, sd_bus_error *error _unused_) {
        return enumerate(userdata, false, ret);
}

static int enumerate_processes(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata, char ***ret, sd_bus_error *error _unused_) {
        return enumerate(userdata, true, ret);
}

static int append_text(sd_bus_message *reply, const char *s) {
        _cleanup_free_ char *safe = text_to_utf8(s ?: "");

        return safe ? sd_bus_message_append(reply, "s", safe) : -ENOMEM;
}

static int append_texts(sd_bus_message *reply, char *const *l) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (; r >= 0 && l && *l; l++)
                r = append_text(reply, *l);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* (object path, role or certainty, evidence) */
static int append_edges(sd_bus_message *reply, Edge *const *edges, size_t n, bool upper) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(osss)");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                const Claim *c = edge_claim(edges[i]);
                _cleanup_free_ char *path = NULL, *evidence = text_to_utf8(c->evidence);

                r = node_path(upper ? edges[i]->upper->id : edges[i]->lower->id, &path);
                if (r >= 0)
                        r = evidence ? sd_bus_message_append(reply, "(osss)", path, edge_role_to_string(c->role),
                                                             certainty_to_string(c->certainty), evidence) : -ENOMEM;
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define PROPERTY_GETTER(function, ...)                                                                          \
        static int function(sd_bus *bus _unused_, const char *path _unused_, const char *interface _unused_,    \
                            const char *property _unused_, sd_bus_message *reply, void *userdata,               \
                            sd_bus_error *error _unused_) {                                                     \
                static const NodeFact nothing = {};                                                             \
                const Node *n = userdata;                                                                       \
                const NodeFact *f _unused_ = n->fact ?: &nothing;                                               \
                return __VA_ARGS__;                                                                             \
        }

PROPERTY_GETTER(get_id, append_text(reply, n->id))
PROPERTY_GETTER(get_kind, append_text(reply, node_kind_to_string(node_kind(n))))
PROPERTY_GETTER(get_type, append_text(reply, f->type))
PROPERTY_GETTER(get_name, append_text(reply, f->name))
PROPERTY_GETTER(get_label, append_text(reply, f->label))
PROPERTY_GETTER(get_device, append_text(reply, f->device))
PROPERTY_GETTER(get_mounts, append_texts(reply, f->mounts))
PROPERTY_GETTER(get_file, append_text(reply, f->path))
PROPERTY_GETTER(get_size, sd_bus_message_append(reply, "t", f->size))
PROPERTY_GETTER(get_depth, sd_bus_message_append(reply, "u", n->analysis.depth))
PROPERTY_GETTER(get_depth_certain, sd_bus_message_append(reply, "u", n->analysis.depth_certain))
PROPERTY_GETTER(get_height, sd_bus_message_append(reply, "u", n->analysis.height))
PROPERTY_GETTER(get_lower, append_edges(reply, n->lower, n->n_lower, false))
PROPERTY_GETTER(get_upper, append_edges(reply, n->upper, n->n_upper, true))
PROPERTY_GETTER(get_incomplete, append_text(reply, f->incomplete))
PROPERTY_GETTER(get_pid, sd_bus_message_append(reply, "u", (uint32_t) f->pid))
PROPERTY_GETTER(get_start, sd_bus_message_append(reply, "t", f->start))
PROPERTY_GETTER(get_comm, append_text(reply, f->comm))
PROPERTY_GETTER(get_exe, append_text(reply, f->exe))
PROPERTY_GETTER(get_uid, sd_bus_message_append(reply, "u", (uint32_t) f->uid))
PROPERTY_GETTER(get_unit, append_text(reply, f->unit))
PROPERTY_GETTER(get_cgroup, append_text(reply, f->cgroup))
PROPERTY_GETTER(get_threads, sd_bus_message_append(reply, "u", f->threads))
PROPERTY_GETTER(get_threads_marked, sd_bus_message_append(reply, "u", f->threads_io_flusher))
PROPERTY_GETTER(get_entitled, sd_bus_message_append(reply, "b", (int) node_is_entitled(n)))
PROPERTY_GETTER(get_refusal, append_text(reply, f->refusal))

#define CONSTANT(name, signature, getter) SD_BUS_PROPERTY(name, signature, getter, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define CHANGING(name, signature, getter) SD_BUS_PROPERTY(name, signature, getter, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable layer_vtable[] = {
        SD_BUS_VTABLE_START(0),
        CONSTANT("Id", "s", get_id),
        CHANGING("Kind", "s", get_kind),
        CHANGING("Type", "s", get_type),
        CHANGING("Name", "s", get_name),
        CHANGING("Label", "s", get_label),
        CHANGING("Device", "s", get_device),
        CHANGING("Mounts", "as", get_mounts),
        CHANGING("Path", "s", get_file),
        CHANGING("Size", "t", get_size),
        CHANGING("Depth", "u", get_depth),
        CHANGING("DepthCertain", "u", get_depth_certain),
        CHANGING("Height", "u", get_height),
        CHANGING("Lower", "a(osss)", get_lower),
        CHANGING("Upper", "a(osss)", get_upper),
        CHANGING("Incomplete", "s", get_incomplete),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable process_vtable[] = {
        SD_BUS_VTABLE_START(0),
        CONSTANT("Id", "s", get_id),
        CONSTANT("PID", "u", get_pid),
        CONSTANT("StartTicks", "t", get_start),
        CHANGING("Command", "s", get_comm),
        CHANGING("Executable", "s", get_exe),
        CHANGING("UID", "u", get_uid),
        CHANGING("Unit", "s", get_unit),
        CHANGING("ControlGroup", "s", get_cgroup),
        CHANGING("Depth", "u", get_depth),
        CHANGING("DepthCertain", "u", get_depth_certain),
        CHANGING("Threads", "u", get_threads),
        CHANGING("ThreadsIOFlusher", "u", get_threads_marked),
        CHANGING("Entitled", "b", get_entitled),
        CHANGING("Refusal", "s", get_refusal),
        CHANGING("Lower", "a(osss)", get_lower),
        CHANGING("Upper", "a(osss)", get_upper),
        CHANGING("Incomplete", "s", get_incomplete),
        SD_BUS_VTABLE_END,
};

int bus_objects_register(BusServer *b) {
        int r;

        r = sd_bus_add_fallback_vtable(b->bus, NULL, LAYER_PREFIX, LAYER_INTERFACE, layer_vtable, find_node, b);
        if (r >= 0)
                r = sd_bus_add_fallback_vtable(b->bus, NULL, PROCESS_PREFIX, PROCESS_INTERFACE, process_vtable, find_node, b);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(b->bus, NULL, LAYER_PREFIX, enumerate_layers, b);
        if (r >= 0)
                r = sd_bus_add_node_enumerator(b->bus, NULL, PROCESS_PREFIX, enumerate_processes, b);
        if (r >= 0)
                r = sd_bus_add_object_manager(b->bus, NULL, BUS_PATH);
        return r;
}

static void warn(int r, const char *id) {
        if (r < 0 && r != -ENOTCONN)
                log_debug("Cannot signal a change of %s: %s", id, strerror(-r));
}

void bus_server_publish(BusServer *b, const GraphChanges *changes) {
        size_t n_hazards = b->n_hazards;
        int r;

        if (!bus_is_heard(b))
                return;
        warn(bus_hazards_tell_gone(b), "hazards");
        for (char **id = changes->removed; id && *id; id++) {
                _cleanup_free_ char *path = NULL;

                r = node_path(*id, &path);
                if (r >= 0)
                        r = sd_bus_emit_interfaces_removed(b->bus, path, is_process(*id) ? PROCESS_INTERFACE : LAYER_INTERFACE, NULL);
                warn(r, *id);
        }
        for (size_t i = 0; i < changes->n_touched; i++) {
                const Node *n = changes->touched[i];
                _cleanup_free_ char *path = NULL;

                if (is_process(n->id) && !n->fact)
                        continue;
                r = node_path(n->id, &path);
                if (r >= 0 && n->fresh)
                        r = sd_bus_emit_object_added(b->bus, path);
                else if (r >= 0)
                        /* No list of names: all that may change. */
                        r = sd_bus_emit_properties_changed_strv(b->bus, path, is_process(n->id) ? PROCESS_INTERFACE : LAYER_INTERFACE,
                                                                NULL);
                warn(r, n->id);
        }
        warn(bus_hazards_remember(b, true), "hazards");
        if (b->n_hazards != n_hazards)
                warn(sd_bus_emit_properties_changed(b->bus, BUS_PATH, BUS_NAME ".Manager", "HazardCount", NULL), "hazards");
        if (b->gaps != b->view.gaps->set)
                warn(sd_bus_emit_properties_changed(b->bus, BUS_PATH, BUS_NAME ".Manager", "Gaps", NULL), "gaps");
        b->gaps = b->view.gaps->set;
}
