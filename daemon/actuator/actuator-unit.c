/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resource settings of units, by the service manager: what it does not know of it would undo at the next
 * occasion.
 *
 * SetUnitProperties() changes the running unit and writes a drop-in below /run, one for each property, in which
 * nobody's name stands; the unit has it also after a restart. So a unit is identified by its name, an undo sets
 * the old value and then removes the drop-in, and one that was there before stays. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/file.h"
#include "common/text.h"
#include "daemon/actuator/actuator.h"

#define MANAGER "org.freedesktop.systemd1"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define CALL_TIMEOUT_USEC (10ULL * 1000 * 1000)

typedef struct Property {
        ActionKind kind;
        const char *name; /* to systemd */
        const char *file; /* in the cgroup; NULL: extended attributes */
} Property;

static const Property properties[] = {
        { ACTION_MEMORY_MIN, "MemoryMin", "memory.min" },
        { ACTION_MEMORY_LOW, "MemoryLow", "memory.low" },
        { ACTION_SWAP_MAX, "MemorySwapMax", "memory.swap.max" },
        { ACTION_OOMD_PREFERENCE, "ManagedOOMPreference", NULL },
};

/* Where systemd writes drop-ins of a running unit, below /run. */
static const char *const control_directories[] = { "systemd/system.control", "systemd/transient" };

static const Property *find_property(ActionKind kind) {
        for (size_t i = 0; i < ELEMENTSOF(properties); i++)
                if (properties[i].kind == kind)
                        return &properties[i];
        return NULL;
}

static const Property *property_of(const Action *a) {
        return find_property(a->kind);
}

static const char *unit_name(const Action *a) {
        const char *name = startswith(a->target, "unit:");

        return name && name[0] && !strchr(name, '/') ? name : NULL;
}

/* ---- the service manager ---- */

static int open_bus(Deed *d) {
        int r;

        if (d->bus)
                return 0;
        r = sd_bus_open_system(&d->bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(d->bus, CALL_TIMEOUT_USEC);
        if (r >= 0)
                return 0;
        d->trouble = text_format("the system bus cannot be reached, and so not systemd, whose unit this is: %s", strerror(-r));
        return -ENOTCONN; /* what is missing is the bus, not the unit */
}

/* Takes over what the error says. */
static int bus_failure(Deed *d, const sd_bus_error *error, int r) {
        if (sd_bus_error_has_name(error, MANAGER ".NoSuchUnit"))
                return -ENOENT;
        free(d->trouble);
        d->trouble = text_format("systemd says: %s", error->message ?: strerror(-r));
        return r;
}

static int find_unit(Deed *d, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *name = unit_name(d->action), *path;
        int r;

        if (!name)
                return -EINVAL;
        r = open_bus(d);
        if (r < 0)
                return r;
        r = sd_bus_call_method(d->bus, MANAGER, MANAGER_PATH, MANAGER ".Manager", "GetUnit", &error, &reply, "s", name);
        if (r < 0)
                return bus_failure(d, &error, r);
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        *ret = strdup(path);
        return *ret ? 0 : -ENOMEM;
}

/* The interface of its type: "foo.service" has org.freedesktop.systemd1.Service. */
static char *unit_interface(const char *name) {
        const char *type = strrchr(name, '.');
        char *interface = type && type[1] ? text_format(MANAGER ".%c%s", type[1] - 'a' + 'A', type + 2) : NULL;

        return interface;
}

/* As cgroups print them; where there is no cgroup since the unit does not run. */
static int read_configured(Deed *d, const Property *p, const char *unit, const char *interface, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t value;
        int r;

        if (!p->file) {
                r = sd_bus_get_property_string(d->bus, MANAGER, unit, interface, p->name, &error, ret);
                return r < 0 ? bus_failure(d, &error, r) : 0;
        }
        r = sd_bus_get_property_trivial(d->bus, MANAGER, unit, interface, p->name, &error, 't', &value);
        if (r < 0)
                return bus_failure(d, &error, r);
        *ret = value == UINT64_MAX ? strdup("max") : text_format("%llu", (unsigned long long) value);
        return *ret ? 0 : -ENOMEM;
}

/* ---- the cgroup ---- */

int cgroup_read_preference(const Sysroot *s, const char *cgroup, char **ret) {
        static const char *const names[] = { "omit", "avoid" };
        _cleanup_close_ int fd = sysroot_open_at(s, AREA_SYS, PATH("fs/cgroup%s", cgroup), O_RDONLY | O_DIRECTORY);
        const char *preference = "none";

        if (fd < 0)
                return fd;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char value[8] = {};

                if (fgetxattr(fd, PATH("user.oomd_%s", names[i]), value, sizeof(value) - 1) > 0 && streq(value, "1"))
                        preference = names[i];
        }
        *ret = strdup(preference);
        return *ret ? 0 : -ENOMEM;
}

/* systemd knows the preference at once, and tells the cgroup, where systemd-oomd looks, only when it has something
 * else to do with it (seen with 257): this says the same. */
static int write_preference(const Sysroot *s, const char *cgroup, const char *preference) {
        static const char *const names[] = { "omit", "avoid" };
        _cleanup_close_ int fd = sysroot_open_at(s, AREA_SYS, PATH("fs/cgroup%s", cgroup), O_RDONLY | O_DIRECTORY);

        if (fd < 0)
                return fd;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *attribute = PATH("user.oomd_%s", names[i]);

                if (streq(names[i], preference) ? fsetxattr(fd, attribute, "1", 1, 0) < 0
                                                : fremovexattr(fd, attribute) < 0 && errno != ENODATA)
                        return -errno;
        }
        return 0;
}

/* Where the unit is now: "" while it does not run. */
static int find_cgroup(Deed *d, const char *unit, const char *interface, char **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_get_property_string(d->bus, MANAGER, unit, interface, "ControlGroup", &error, ret);
        return r < 0 ? bus_failure(d, &error, r) : 0;
}

/* The unit's object, its interface, and where it is; the caller frees all three. */
static int locate_unit(Deed *d, char **ret_unit, char **ret_interface, char **ret_cgroup) {
        int r;

        r = find_unit(d, ret_unit);
        if (r < 0)
                return r;
        *ret_interface = unit_interface(unit_name(d->action));
        return *ret_interface ? find_cgroup(d, *ret_unit, *ret_interface, ret_cgroup) : -ENOMEM;
}

static int unit_read(Deed *d, char **ret) {
        _cleanup_free_ char *unit = NULL, *interface = NULL, *cgroup = NULL;
        const Property *p = property_of(d->action);
        int r;

        r = locate_unit(d, &unit, &interface, &cgroup);
        if (r < 0)
                return r;
        /* What is reserved there would be reserved for something else than what needs it. */
        if (!d->action->undo && d->action->place && !streq(cgroup, d->action->place)) {
                if (!cgroup[0])
                        return -ENOENT;
                d->trouble = text_format("systemd has the unit in %s, and not in %s", cgroup, d->action->place);
                return -EBUSY;
        }
        if (!cgroup[0])
                return read_configured(d, p, unit, interface, ret);
        r = p->file ? sysroot_read(d->root, AREA_SYS, PATH("fs/cgroup%s/%s", cgroup, p->file), ret)
                    : cgroup_read_preference(d->root, cgroup, ret);
        /* It is being stopped: systemd still has the value, and would give it to the unit when it starts again. */
        return d->action->undo && (r == -ENOENT || r == -ENODEV) ? read_configured(d, p, unit, interface, ret) : r;
}

static int append_value(sd_bus_message *m, const Property *p, const char *value) {
        uint64_t number = UINT64_MAX;

        if (!p->file)
                return sd_bus_message_append(m, "(sv)", p->name, "s", value);
        if (!streq(value, "max") && text_to_u64(value, 10, &number) < 0)
                return -EINVAL;
        return sd_bus_message_append(m, "(sv)", p->name, "t", number);
}

static int set_property(Deed *d, const char *value) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        const char *name = unit_name(d->action);
        int r;

        if (!name)
                return -EINVAL;
        r = open_bus(d);
        if (r >= 0)
                r = sd_bus_message_new_method_call(d->bus, &m, MANAGER, MANAGER_PATH, MANAGER ".Manager", "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sb", name, true);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = append_value(m, property_of(d->action), value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        r = sd_bus_call(d->bus, m, CALL_TIMEOUT_USEC, &error, NULL);
        return r < 0 ? bus_failure(d, &error, r) : 0;
}

static int unit_write(Deed *d, const char *value) {
        _cleanup_free_ char *unit = NULL, *interface = NULL, *cgroup = NULL;
        int r;

        r = set_property(d, value);
        if (r < 0 || property_of(d->action)->file)
                return r;
        r = locate_unit(d, &unit, &interface, &cgroup);
        return r < 0 || !cgroup[0] ? r : write_preference(d->root, cgroup, value);
}

/* The value in the last line "NAME=VALUE", as cgroups print it. */
static char *assigned_value(const char *text, const char *name) {
        const char *value = "";
        char *copy;

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *rest = startswith(line, name);

                if (rest && *rest == '=')
                        value = rest + 1;
        }
        copy = strndup(value, strcspn(value, "\n"));
        if (copy && streq(copy, "infinity"))
                strcpy(copy, "max");
        return copy;
}

int unit_read_told(const Sysroot *s, ActionKind kind, const char *unit, char **ret) {
        const char *name = find_property(kind)->name;

        for (size_t i = 0; i < ELEMENTSOF(control_directories); i++) {
                _cleanup_free_ char *text = NULL;
                int r;

                r = sysroot_read(s, AREA_RUN, PATH("%s/%s.d/50-%s.conf", control_directories[i], unit, name), &text);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        continue;
                *ret = assigned_value(text, name);
                return *ret ? 0 : -ENOMEM;
        }
        *ret = NULL;
        return 0;
}

static int unit_prepare(const Sysroot *s, Action *a) {
        _cleanup_free_ char *told = NULL;
        int r;

        r = unit_name(a) ? unit_read_told(s, a->kind, unit_name(a), &told) : 0;
        if (r < 0 || !told)
                return r;
        a->detail = strdup("drop-in");
        return a->detail ? 0 : -ENOMEM;
}

/* systemd has read the drop-in, and does not need it any more; it says "changed on disk" of the unit until the next
 * daemon-reload, after RevertUnitFiles() too (seen with 257). That is not ours to make: there may be half-made changes of an
 * administrator, and nothing else is done by systemd meanwhile, which is long on a machine that is short of memory. An
 * empty file with the date of the drop-in would keep systemd quiet, and stay in 'systemctl cat' until the next boot. */
static void unit_forget(Deed *d) {
        const Action *a = d->action;

        if (a->detail || !unit_name(a))
                return;
        for (size_t i = 0; i < ELEMENTSOF(control_directories); i++) {
                _cleanup_close_ int fd = sysroot_open_at(d->root, AREA_RUN, control_directories[i], O_RDONLY | O_DIRECTORY);

                if (fd < 0)
                        continue;
                (void) unlinkat(fd, PATH("%s.d/50-%s.conf", unit_name(a), property_of(a)->name), 0);
                (void) unlinkat(fd, PATH("%s.d", unit_name(a)), AT_REMOVEDIR);
        }
}

/* Someone has written to the cgroup behind systemd's back: systemd, which still has our value, is told, or the
 * unit would have it again after a restart. */
static void unit_leave(Deed *d, const char *value) {
        _cleanup_free_ char *unit = NULL, *interface = unit_interface(unit_name(d->action)), *configured = NULL;

        if (!interface || find_unit(d, &unit) < 0 || read_configured(d, property_of(d->action), unit, interface, &configured) < 0 ||
            !d->action->from || !streq(configured, d->action->from))
                return;
        if (unit_write(d, value) >= 0)
                unit_forget(d);
}

#define UNIT_ACTUATOR(k)                                                                                            \
        {                                                                                                           \
                .kind = k, .slow = true, .read = unit_read, .write = unit_write, .forget = unit_forget,             \
                .leave = unit_leave, .prepare = unit_prepare,                                                       \
        }

const Actuator actuator_memory_min = UNIT_ACTUATOR(ACTION_MEMORY_MIN);
const Actuator actuator_memory_low = UNIT_ACTUATOR(ACTION_MEMORY_LOW);
const Actuator actuator_swap_max = UNIT_ACTUATOR(ACTION_SWAP_MAX);
const Actuator actuator_oomd_preference = UNIT_ACTUATOR(ACTION_OOMD_PREFERENCE);
