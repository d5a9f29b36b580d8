/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "daemon/analysis/depth.h"

typedef enum View {
        VIEW_DEPTH,   /* all edges, downwards */
        VIEW_CERTAIN, /* certain edges and alternatives, downwards */
        VIEW_HEIGHT,  /* all edges, upwards */
} View;

typedef struct NodeList {
        Node **nodes;
        size_t n, capacity;
} NodeList;

static void node_list_done(NodeList *l) {
        free(l->nodes);
}
#define _cleanup_node_list_ _cleanup_(node_list_done)

static bool edge_counts(const Edge *e, View view) {
        const Claim *c = edge_claim(e);

        return view != VIEW_CERTAIN || c->certainty >= CERTAINTY_UNIQUE || c->alternative > 0;
}

/* The node's edges in the direction in which the value flows, and against it. */
static Edge **edges_onward(const Node *n, View view, size_t *ret_n) {
        *ret_n = view == VIEW_HEIGHT ? n->n_upper : n->n_lower;
        return view == VIEW_HEIGHT ? n->upper : n->lower;
}

static Edge **edges_back(const Node *n, View view, size_t *ret_n) {
        *ret_n = view == VIEW_HEIGHT ? n->n_lower : n->n_upper;
        return view == VIEW_HEIGHT ? n->lower : n->upper;
}

static Node *edge_end(const Edge *e, View view) {
        return view == VIEW_HEIGHT ? e->upper : e->lower;
}

static Node *edge_start(const Edge *e, View view) {
        return view == VIEW_HEIGHT ? e->lower : e->upper;
}

static unsigned *value_of(Node *n, View view) {
        return view == VIEW_DEPTH ? &n->analysis.depth
                : view == VIEW_CERTAIN ? &n->analysis.depth_certain
                                       : &n->analysis.height;
}

/* What a node passes on to the next outside its own component. */
static unsigned value_onward(Node *n, View view) {
        return *value_of(n, view) + node_is_reclaim(n);
}

/* ---- the region: all nodes that a change can influence, by numbers ---- */

typedef enum LinkKind {
        LINK_GUESS,       /* does not count for the certain depth */
        LINK_ALTERNATIVE, /* one of several of which one is certain */
        LINK_CERTAIN,
} LinkKind;

/* Small, all of these: to touch new memory is most of what it costs. */
typedef struct Link {
        unsigned to : 30;
        LinkKind kind : 2;
} Link;

#define REGION_MAX (1U << 30)

typedef struct Member {
        Node *node;
        unsigned first; /* of its links, which end where those of the next member begin */
        unsigned n_back; /* links that lead to it */
        unsigned n_all;  /* the same, and edges from outside the region */
        bool reclaim;
        bool chosen; /* an alternative leads to it */
} Member;

/* The nodes are numbered (scratch), and their edges onward lie side by side: to follow the pointers of a large graph costs
 * far more than all that is computed. It is closed onward, so that every component that touches it lies in it wholly. */
typedef struct Region {
        Member *members; /* one more, for the end of the links */
        size_t n, capacity;
        Link *links;
        size_t n_links, links_capacity;
        bool closed;  /* against the direction, too */
        bool guesses; /* some link is not certain */
} Region;

static void region_done(Region *r) {
        free(r->members);
        free(r->links);
}
#define _cleanup_region_ _cleanup_(region_done)

static int region_enter(Analysis *a, Region *r, Node *n) {
        if (n->mark == a->epoch)
                return 0;
        if (r->n >= REGION_MAX)
                return -ENOMEM;
        n->mark = a->epoch;
        n->scratch = (unsigned) r->n;
        return ARRAY_APPEND(r->members, r->n, r->capacity, ((Member) { .node = n }));
}

static LinkKind link_kind(const Edge *e) {
        const Claim *c = edge_claim(e);

        return c->certainty >= CERTAINTY_UNIQUE ? LINK_CERTAIN : c->alternative > 0 ? LINK_ALTERNATIVE : LINK_GUESS;
}

/* Every edge, also those that do not count now: they may have counted before. */
static int region_follow(Analysis *a, Region *r, size_t i, View view) {
        Node *n = r->members[i].node;
        size_t n_onward, n_all;
        Edge **edges = edges_onward(n, view, &n_onward);
        int k;

        if (r->n_links + n_onward > UINT_MAX)
                return -ENOMEM;
        k = array_reserve((void **) &r->links, &r->links_capacity, r->n_links + n_onward, sizeof(Link));
        (void) edges_back(n, view, &n_all);
        r->members[i].first = (unsigned) r->n_links;
        r->members[i].n_all = (unsigned) n_all;
        r->members[i].reclaim = node_is_reclaim(n);
        for (size_t e = 0; k >= 0 && e < n_onward; e++) {
                Node *next = edge_end(edges[e], view);

                k = region_enter(a, r, next);
                r->links[r->n_links++] = (Link) { .to = next->scratch, .kind = link_kind(edges[e]) };
        }
        return k;
}

static int region_build(Analysis *a, Node **seeds, size_t n_seeds, View view, Region *r) {
        int k;

        a->epoch++;
        k = array_reserve((void **) &r->members, &r->capacity, n_seeds + 1, sizeof(Member));
        for (size_t i = 0; k >= 0 && i < n_seeds; i++)
                k = region_enter(a, r, seeds[i]);
        for (size_t done = 0; k >= 0 && done < r->n; done++)
                k = region_follow(a, r, done, view);
        if (k >= 0)
                k = array_reserve((void **) &r->members, &r->capacity, r->n + 1, sizeof(Member));
        if (k < 0)
                return k;
        r->members[r->n] = (Member) { .first = (unsigned) r->n_links };
        for (size_t i = 0; i < r->n_links; i++) {
                const Link *l = &r->links[i];

                r->members[l->to].n_back++;
                r->members[l->to].chosen |= l->kind == LINK_ALTERNATIVE;
                r->guesses |= l->kind != LINK_CERTAIN;
        }
        r->closed = true;
        for (size_t i = 0; i < r->n; i++)
                r->closed &= r->members[i].n_back == r->members[i].n_all;
        return 0;
}

/* The same nodes, with all links the other way. */
static int region_turn(Region *r) {
        Link *links = malloc((r->n_links + 1) * sizeof(Link));
        unsigned *next = calloc(r->n + 1, sizeof(unsigned));

        if (!links || !next) {
                free(links);
                free(next);
                return -ENOMEM;
        }
        for (size_t i = 0; i < r->n; i++)
                next[i + 1] = next[i] + r->members[i].n_back;
        for (size_t i = 0; i < r->n; i++)
                for (size_t k = r->members[i].first; k < r->members[i + 1].first; k++)
                        links[next[r->links[k].to]++] = (Link) { .to = (unsigned) i, .kind = r->links[k].kind };
        for (unsigned i = 0, first = 0; i < r->n; i++) {
                Member *m = &r->members[i];
                unsigned n = r->members[i + 1].first - m->first;

                m->first = first;
                first += m->n_back;
                m->n_back = m->n_all = n;
        }
        free(next);
        free(r->links);
        r->links = links;
        return 0;
}

/* ---- components ---- */

/* The numbers of the nodes, component by component: the one into which others flow comes first. */
typedef struct Order {
        unsigned *nodes;
        unsigned *component; /* of each node, from 1 on in this order */
        bool cycles;
} Order;

static void order_done(Order *o) {
        free(o->nodes);
        free(o->component);
}
#define _cleanup_order_ _cleanup_(order_done)

static bool link_counts(const Link *l, View view) {
        return view != VIEW_CERTAIN || l->kind != LINK_GUESS;
}

typedef struct Frame {
        unsigned node, link;
} Frame;

/* Tarjan's strongly connected components without recursion (stacks are as deep as users make them). */
static int order_find(const Region *r, View view, Order *o) {
        _cleanup_free_ Frame *frames = malloc((r->n + 1) * sizeof(Frame));
        _cleanup_free_ unsigned *open = malloc((r->n + 1) * sizeof(unsigned)), *low = malloc((r->n + 1) * sizeof(unsigned));
        _cleanup_free_ unsigned *visited = calloc(r->n + 1, sizeof(unsigned)); /* 0 = unseen, else the visiting number */
        size_t n_frames = 0, n_open = 0, n_ordered = 0;
        unsigned counter = 0, components = 0;

        o->nodes = malloc((r->n + 1) * sizeof(unsigned));
        o->component = calloc(r->n + 1, sizeof(unsigned));
        if (!frames || !open || !low || !visited || !o->nodes || !o->component)
                return -ENOMEM;
        for (size_t i = 0; i < r->n; i++) {
                if (visited[i] != 0)
                        continue;
                frames[n_frames++] = (Frame) { .node = (unsigned) i, .link = r->members[i].first };
                while (n_frames > 0) {
                        Frame *f = &frames[n_frames - 1];
                        unsigned n = f->node, m;

                        if (visited[n] == 0) {
                                visited[n] = low[n] = ++counter;
                                open[n_open++] = n;
                        }
                        if (f->link < r->members[n + 1].first) {
                                const Link *l = &r->links[f->link++];

                                if (!link_counts(l, view) || o->component[l->to] != 0)
                                        continue;
                                o->cycles |= l->to == n;
                                if (visited[l->to] == 0)
                                        frames[n_frames++] = (Frame) { .node = l->to, .link = r->members[l->to].first };
                                else
                                        low[n] = MIN(low[n], visited[l->to]);
                                continue;
                        }
                        n_frames--;
                        if (n_frames > 0)
                                low[frames[n_frames - 1].node] = MIN(low[frames[n_frames - 1].node], low[n]);
                        if (low[n] != visited[n])
                                continue;
                        components++;
                        o->cycles |= open[n_open - 1] != n;
                        do {
                                m = open[--n_open];
                                o->component[m] = components;
                                o->nodes[n_ordered++] = m;
                        } while (m != n);
                }
        }
        return 0;
}

/* Of a region that has been turned: cycles are the same, and what flows flows the other way. */
static void order_turn(const Region *r, Order *o) {
        for (size_t i = 0; i < r->n / 2; i++) {
                unsigned t = o->nodes[i];

                o->nodes[i] = o->nodes[r->n - 1 - i];
                o->nodes[r->n - 1 - i] = t;
        }
}

/* ---- values ---- */

typedef struct Flow {
        Analysis *a;
        const Region *region;
        const Order *order;
        View view;
        unsigned *values; /* of each node: what has flowed into it by now, and in the end its result */
        unsigned *cycles; /* the number of each node's cycle, or 0; NULL where there is none */
} Flow;

/* The same while it is computed: of a node within the region the result is not kept yet. */
static unsigned flow_onward(const Flow *f, Node *n) {
        return n->mark == f->a->epoch ? f->values[n->scratch] + node_is_reclaim(n) : value_onward(n, f->view);
}

/* Whether a node is of the component that is being computed. */
static bool is_member(const Flow *f, const Node *n, unsigned component) {
        return n->mark == f->a->epoch && f->order->component[n->scratch] == component;
}

/* At least one edge of a group of alternatives holds: the smallest of them is certain. One from within the component may
 * be all that holds, and brings nothing from outside. */
static unsigned alternatives_value(const Flow *f, Edge **edges, size_t n, size_t first, unsigned component) {
        unsigned group = edge_claim(edges[first])->alternative, least = UINT_MAX;

        for (size_t i = 0; i < n; i++) {
                const Claim *c = edge_claim(edges[i]);

                if (c->alternative != group)
                        continue;
                if (i < first) /* done with the first of the group */
                        return 0;
                if (is_member(f, edges[i]->upper, component))
                        return 0;
                least = MIN(least, flow_onward(f, edges[i]->upper));
        }
        return least;
}

/* The largest value that flows into n from outside its component, by all of its edges: also those from outside the region. */
static unsigned value_from_all(const Flow *f, Node *n) {
        unsigned component = f->order->component[n->scratch], value = 0;
        size_t n_edges;
        Edge **edges = edges_back(n, f->view, &n_edges);

        for (size_t i = 0; i < n_edges; i++) {
                Node *from = edge_start(edges[i], f->view);
                const Claim *c = edge_claim(edges[i]);

                if (!edge_counts(edges[i], f->view) || is_member(f, from, component))
                        continue;
                if (f->view == VIEW_CERTAIN && c->certainty < CERTAINTY_UNIQUE)
                        value = MAX(value, alternatives_value(f, edges, n_edges, i, component));
                else
                        value = MAX(value, flow_onward(f, from));
        }
        return value;
}

static unsigned value_from_outside(const Flow *f, unsigned i) {
        const Member *m = &f->region->members[i];

        return m->n_all > m->n_back || (f->view == VIEW_CERTAIN && m->chosen) ? value_from_all(f, m->node) : f->values[i];
}

static bool leads_to_itself(const Region *r, unsigned i) {
        for (size_t k = r->members[i].first; k < r->members[i + 1].first; k++)
                if (r->links[k].to == i)
                        return true;
        return false;
}

/* Hands on what the node has; the alternatives are compared when all of them are known. */
static void pass_on(const Flow *f, unsigned i, unsigned value) {
        const Region *r = f->region;

        for (size_t k = r->members[i].first; k < r->members[i + 1].first; k++) {
                const Link *l = &r->links[k];

                if (link_counts(l, f->view) && f->order->component[l->to] != f->order->component[i])
                        f->values[l->to] = MAX(f->values[l->to], value);
        }
}

static void compute_component(const Flow *f, const unsigned *nodes, size_t n) {
        const Member *members = f->region->members;
        unsigned outside = 0, reclaim = 0, cycle = 0;

        for (size_t i = 0; i < n; i++) {
                outside = MAX(outside, value_from_outside(f, nodes[i]));
                reclaim += members[nodes[i]].reclaim;
        }
        if (f->cycles && (n > 1 || leads_to_itself(f->region, nodes[0])))
                cycle = ++f->a->next_component;
        for (size_t i = 0; i < n; i++) {
                bool own = members[nodes[i]].reclaim;

                f->values[nodes[i]] = n == 1 ? outside : outside + reclaim - own;
                if (f->cycles)
                        f->cycles[nodes[i]] = cycle;
                pass_on(f, nodes[i], f->values[nodes[i]] + own);
        }
}

/* All at once, in the order in which they probably lie in memory. */
static int keep_results(const Flow *f, GraphChanges *changes) {
        for (size_t i = 0; i < f->region->n; i++) {
                Node *n = f->region->members[i].node;
                unsigned *value = value_of(n, f->view), cycle = f->view != VIEW_DEPTH ? n->analysis.component : f->cycles ? f->cycles[i] : 0;
                int k;

                if (*value != f->values[i] || (cycle > 0) != (n->analysis.component > 0)) {
                        k = graph_changes_touch(changes, n);
                        if (k < 0)
                                return k;
                }
                *value = f->values[i];
                n->analysis.component = cycle;
        }
        return 0;
}

static int compute(Analysis *a, const Region *r, const Order *o, View view, GraphChanges *changes) {
        _cleanup_free_ unsigned *values = calloc(r->n + 1, sizeof(unsigned));
        _cleanup_free_ unsigned *cycles = o->cycles && view == VIEW_DEPTH ? calloc(r->n + 1, sizeof(unsigned)) : NULL;
        Flow f = { .a = a, .region = r, .order = o, .view = view, .values = values, .cycles = cycles };

        if (!values || (o->cycles && view == VIEW_DEPTH && !cycles))
                return -ENOMEM;
        /* Backwards: what others get their value from comes first. */
        for (size_t end = r->n, begin; end > 0; end = begin) {
                unsigned component = o->component[o->nodes[end - 1]];

                for (begin = end - 1; begin > 0 && o->component[o->nodes[begin - 1]] == component; begin--)
                        ;
                compute_component(&f, o->nodes + begin, end - begin);
        }
        return keep_results(&f, changes);
}

/* What is above decides about depth, downwards. A certain edge is an edge: without cycles both have the same order. */
static int update_depth(Analysis *a, const Region *r, const Order *o, GraphChanges *changes) {
        _cleanup_order_ Order certain = {};
        bool same = !o->cycles || !r->guesses;
        int k;

        k = compute(a, r, o, VIEW_DEPTH, changes);
        if (k >= 0 && !same)
                k = order_find(r, VIEW_CERTAIN, &certain);
        return k < 0 ? k : compute(a, r, same ? o : &certain, VIEW_CERTAIN, changes);
}

/* What is below decides about height, upwards. */
static int update_height(Analysis *a, Node **seeds, size_t n_seeds, GraphChanges *changes) {
        _cleanup_region_ Region r = {};
        _cleanup_order_ Order o = {};
        int k;

        k = region_build(a, seeds, n_seeds, VIEW_HEIGHT, &r);
        if (k >= 0)
                k = order_find(&r, VIEW_HEIGHT, &o);
        return k < 0 ? k : compute(a, &r, &o, VIEW_HEIGHT, changes);
}

int analysis_update(Analysis *a, GraphChanges *changes) {
        _cleanup_region_ Region r = {};
        _cleanup_order_ Order o = {};
        _cleanup_free_ Node **seeds = NULL;
        size_t n = changes->n_touched;
        int k;

        if (n == 0)
                return 0;
        /* A copy: the record grows by the nodes whose result differs. */
        seeds = malloc(n * sizeof(Node *));
        if (!seeds)
                return -ENOMEM;
        memcpy(seeds, changes->touched, n * sizeof(Node *));
        k = region_build(a, seeds, n, VIEW_DEPTH, &r);
        if (k >= 0)
                k = order_find(&r, VIEW_DEPTH, &o);
        if (k >= 0)
                k = update_depth(a, &r, &o, changes);
        if (k < 0)
                return k;
        if (!r.closed)
                return update_height(a, seeds, n, changes);
        /* Nothing above it is outside: so is all that the change can influence upwards. */
        k = region_turn(&r);
        if (k < 0)
                return k;
        order_turn(&r, &o);
        return compute(a, &r, &o, VIEW_HEIGHT, changes);
}

/* How much of the value is certain by that edge. */
static unsigned certain_part(const Edge *e) {
        return edge_counts(e, VIEW_CERTAIN) ? value_onward(e->upper, VIEW_CERTAIN) : 0;
}

/* Whether 'e' explains the value better than 'best' (may be NULL): by a larger value, of which more is certain. */
static bool explains_better(const Edge *e, const Edge *best, View view) {
        unsigned value = value_onward(e->upper, view), other = best ? value_onward(best->upper, view) : 0;

        if (!best || value != other)
                return !best || value > other;
        if (certain_part(e) != certain_part(best))
                return certain_part(e) > certain_part(best);
        if (edge_claim(e)->certainty != edge_claim(best)->certainty)
                return edge_claim(e)->certainty > edge_claim(best)->certainty;
        return strcmp(e->upper->id, best->upper->id) < 0;
}

/* The node above that gives n its value, not leading to nodes already on the path. */
static Node *path_step(Analysis *a, Node *n, View view) {
        const Edge *best = NULL;

        for (size_t i = 0; i < n->n_upper; i++) {
                const Edge *e = n->upper[i];

                if (edge_counts(e, view) && e->upper->mark != a->epoch && explains_better(e, best, view))
                        best = e;
        }
        return best ? best->upper : NULL;
}

int analysis_path(Analysis *a, Node *n, bool certain, Node ***ret, size_t *ret_n) {
        /* Where certain edges alone give it its depth, no inferred one is needed to explain it. */
        View view = certain || n->analysis.depth_certain == n->analysis.depth ? VIEW_CERTAIN : VIEW_DEPTH;
        _cleanup_free_ Node **path = NULL;
        size_t k = 0, capacity = 0;
        int r = 0;

        a->epoch++;
        for (Node *m = n; r >= 0 && m; m = path_step(a, m, view)) {
                m->mark = a->epoch;
                r = ARRAY_APPEND(path, k, capacity, m);
        }
        if (r < 0)
                return r;
        for (size_t i = 0; i < k / 2; i++) {
                Node *t = path[i];

                path[i] = path[k - 1 - i];
                path[k - 1 - i] = t;
        }
        *ret = TAKE_PTR(path);
        *ret_n = k;
        return 0;
}

static bool edge_carries(const Edge *e, bool certain) {
        return edge_claim(e)->role == ROLE_BACKING && edge_counts(e, certain ? VIEW_CERTAIN : VIEW_DEPTH);
}

int analysis_above(Analysis *a, Node *n, bool certain, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList above = {};
        Node *m = n;
        int r;

        n->mark = ++a->epoch;
        for (size_t done = 0;; m = above.nodes[done++]) {
                for (size_t i = 0; i < m->n_upper; i++) {
                        Node *next = m->upper[i]->upper;

                        if (!edge_carries(m->upper[i], certain) || next->mark == a->epoch)
                                continue;
                        next->mark = a->epoch;
                        r = ARRAY_APPEND(above.nodes, above.n, above.capacity, next);
                        if (r < 0)
                                return r;
                }
                if (done == above.n)
                        break;
        }
        *ret = TAKE_PTR(above.nodes);
        *ret_n = above.n;
        return 0;
}

/* Upwards from the lower end, so that each node knows by its link how far down the chain it is. */
int analysis_route(Analysis *a, Node *upper, Node *lower, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList queue = {}, route = {};
        int r;

        lower->mark = ++a->epoch;
        lower->link = 1;
        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, lower);
        for (size_t done = 0; r >= 0 && done < queue.n && upper->mark != a->epoch; done++)
                for (size_t i = 0; r >= 0 && i < queue.nodes[done]->n_upper; i++) {
                        Node *next = queue.nodes[done]->upper[i]->upper;

                        if (!edge_carries(queue.nodes[done]->upper[i], true) || next->mark == a->epoch)
                                continue;
                        next->mark = a->epoch;
                        next->link = queue.nodes[done]->link + 1;
                        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, next);
                }
        if (r < 0)
                return r;
        if (upper->mark != a->epoch)
                return -ENOENT;
        r = ARRAY_APPEND(route.nodes, route.n, route.capacity, upper);
        for (Node *m = upper; r >= 0 && m != lower; m = route.nodes[route.n - 1])
                for (size_t i = 0; i < m->n_lower; i++) {
                        Node *next = m->lower[i]->lower;

                        if (!edge_carries(m->lower[i], true) || next->mark != a->epoch || next->link + 1 != m->link)
                                continue;
                        r = ARRAY_APPEND(route.nodes, route.n, route.capacity, next);
                        break;
                }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(route.nodes);
        *ret_n = route.n;
        return 0;
}

int analysis_cycle(Analysis *a, Node *n, Node ***ret, size_t *ret_n) {
        _cleanup_node_list_ NodeList queue = {};
        _cleanup_free_ size_t *parents = NULL;
        size_t parents_capacity = 0, n_parents = 0, last = SIZE_MAX, length = 1;
        int r;

        a->epoch++;
        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, n);
        if (r >= 0)
                r = ARRAY_APPEND(parents, n_parents, parents_capacity, SIZE_MAX);
        for (size_t done = 0; r >= 0 && last == SIZE_MAX && done < queue.n; done++) {
                Node *m = queue.nodes[done];

                for (size_t i = 0; i < m->n_lower && last == SIZE_MAX; i++) {
                        Node *next = m->lower[i]->lower;

                        if (next == n) {
                                last = done;
                                break;
                        }
                        if (next->mark == a->epoch || next->analysis.component != n->analysis.component)
                                continue;
                        next->mark = a->epoch;
                        r = ARRAY_APPEND(queue.nodes, queue.n, queue.capacity, next);
                        if (r >= 0)
                                r = ARRAY_APPEND(parents, n_parents, parents_capacity, done);
                        if (r < 0)
                                break;
                }
        }
        if (r < 0)
                return r;
        if (last == SIZE_MAX)
                return -ENOENT;
        for (size_t i = last; i != SIZE_MAX; i = parents[i])
                length++;
        Node **path = malloc(length * sizeof(Node *));
        if (!path)
                return -ENOMEM;
        path[length - 1] = n;
        for (size_t i = last, k = length - 1; i != SIZE_MAX; i = parents[i])
                path[--k] = queue.nodes[i];
        *ret = path;
        *ret_n = length;
        return 0;
}
