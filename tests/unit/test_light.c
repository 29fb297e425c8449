/* Light readers (core/light.h): borrows that are noted in the record of their thread and not in the entry's word. All that pins promise
 * they must promise, too. Interleavings are made by hand: through seats and words, or inside the fence that the rare side calls. */
#include "white.h"

#include "core/light.h"

#include <sched.h>

static memguard_vault *vault;
static struct mg__sys_table real;

/* ---- tools ---- */

static uint64_t word_of(memguard_secret secret) { return atomic_load(&entry_of(secret)->word); }

static void read_once(memguard_secret secret) {
    memguard_view view;
    if (!CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK)) return;
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
}

/* A secret that may be read lightly. */
static memguard_secret make_light(memguard_vault *of, uint32_t rest, uint32_t seed) {
    memguard_secret secret = make_secret(of, 40, rest, seed);
    for (int i = 0; i < 64; i++)
        read_once(secret);
    CHECK((word_of(secret) & MG_WORD_V) != 0);
    return secret;
}

static memguard_view hold(memguard_secret secret) {
    memguard_view view;
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_OK);
    return view;
}

static bool is_light(const memguard_view *view) {
    return (view->pin[1] >> (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS)) % (1U << MG_VIEW_ACCESS_BITS) == MG_VIEW_LIGHT;
}

static uint32_t borrows_of(memguard_secret secret) {
    memguard_info info = MEMGUARD_INFO_INIT;
    CHECK_STATUS(memguard_secret_info(secret, &info), MEMGUARD_OK);
    CHECK(!info.writing);
    return info.borrows;
}

static memguard_status write_status(memguard_secret secret) {
    memguard_view view;
    const memguard_status status = memguard_secret_acquire(secret, MEMGUARD_WRITE, &view);
    if (status == MEMGUARD_OK) CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    return status;
}

static void destroy(memguard_secret secret) { CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_OK); }

static bool is_gone(uint64_t id) { return (atomic_load(&mg__entry_at(id)->word) ^ id) >> 32 != 0; }

/* Another thread. */
static void run_in_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    if (CHECK(pthread_create(&thread, NULL, body, arg) == 0)) CHECK(pthread_join(thread, NULL) == 0);
}

struct release {
    memguard_view view;
    memguard_status status;
};

static void *release_it(void *arg) {
    struct release *release = arg;
    release->status = memguard_view_release(&release->view);
    return NULL;
}

static memguard_status release_elsewhere(memguard_view view) {
    struct release release = {view, -1};
    run_in_thread(release_it, &release);
    return release.status;
}

/* What happens inside a heavy fence, once. */
static void (*inside)(void);
static int fence_with_something_inside(int command) {
    void (*what)(void) = inside;
    inside = NULL;
    if (what != NULL) what();
    return real.membarrier(command);
}

static void arm(void (*what)(void)) {
    real = mg__sys_table;
    inside = what;
    mg__sys_table.membarrier = fence_with_something_inside;
}

static void disarm(void) {
    CHECK(inside == NULL);
    mg__sys_table = real;
}

/* ---- when ---- */

TEST(what_is_read_often_is_read_lightly_and_its_word_stays_as_it_is) {
    static const uint32_t rests[] = {MEMGUARD_MAPPED, MEMGUARD_COMPACT, MEMGUARD_MAPPED | MEMGUARD_WRITABLE | MEMGUARD_FROZEN};
    for (size_t i = 0; i < sizeof rests / sizeof rests[0]; i++) {
        memguard_secret secret = make_light(vault, rests[i], 7);
        const uint64_t before = word_of(secret);
        memguard_view view = hold(secret), other = hold(secret);
        CHECK(is_light(&view) && is_light(&other) && word_of(secret) == before);
        CHECK(view.size == 40 && is_pattern(view.data, 40, 7) && view.data == other.data);
        CHECK(borrows_of(secret) == 2 && report_of(vault).borrows == 2);
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
        CHECK(view.data == NULL && view.size == 0 && view.pin[0] == 0 && view.pin[1] == 0);
        CHECK(borrows_of(secret) == 1);
        CHECK_STATUS(memguard_view_release(&other), MEMGUARD_OK);
        CHECK(borrows_of(secret) == 0 && report_of(vault).borrows == 0 && word_of(secret) == before);
        CHECK(holds(secret, 7));
        destroy(secret);
    }
}

static void check_never(memguard_vault *of, uint32_t rest, const memguard_limits *limits) {
    memguard_secret secret = make_secret(of, 40, rest, 1);
    if (limits != NULL) CHECK_STATUS(memguard_secret_limit(secret, limits), MEMGUARD_OK);
    for (int i = 0; i < 200; i++)
        read_once(secret);
    CHECK((word_of(secret) & MG_WORD_V) == 0);
    destroy(secret);
}

TEST(what_must_be_opened_or_counted_or_copied_is_read_by_pins) {
    const memguard_limits limits = {.size = sizeof limits, .ttl_ms = 3600000};
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *copied = NULL;
    check_never(vault, MEMGUARD_SEALED, NULL);
    check_never(vault, MEMGUARD_CLOSED, NULL);
    check_never(vault, MEMGUARD_MAPPED | MEMGUARD_WRITABLE, NULL);
    check_never(vault, MEMGUARD_COMPACT, &limits);
    options.backend = MEMGUARD_BACKEND_PLAIN;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.flags = MEMGUARD_NO_THREAD;
    if (!CHECK_STATUS(memguard_vault_create(&options, &copied), MEMGUARD_OK)) return;
    check_never(copied, MEMGUARD_COMPACT, NULL);
    CHECK_STATUS(memguard_vault_destroy(&copied), MEMGUARD_OK);
}

static int refuse(int command) {
    (void)command;
    errno = EPERM;
    return -1;
}

TEST(without_fences_that_the_rare_side_pays_for_all_read_by_pins) {
    memguard_secret before = make_light(vault, MEMGUARD_COMPACT, 3);
    real = mg__sys_table;
    mg__sys_table.membarrier = refuse;
    memguard_view view = hold(before);
    mg__sys_fence_heavy();
    CHECK(!atomic_load(&mg__sys_light_fences));
    check_never(vault, MEMGUARD_MAPPED, NULL);
    memguard_view other = hold(before);
    CHECK(is_light(&view) && !is_light(&other) && borrows_of(before) == 2);
    CHECK_STATUS(write_status(before), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_view_release(&other), MEMGUARD_OK);
    CHECK_STATUS(write_status(before), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(write_status(before), MEMGUARD_OK);
    destroy(before);
    mg__sys_table = real;
    mg__sys_fence_prepare();
}

TEST(more_than_the_word_can_count_may_read_lightly) {
    enum { MOST = 9000 };
    static memguard_view views[MOST];
    memguard_secret secret = make_light(vault, MEMGUARD_MAPPED, 5);
    for (int i = 0; i < MOST; i++)
        views[i] = hold(secret);
    CHECK(borrows_of(secret) == MOST);
    for (int i = 0; i < MOST; i++)
        CHECK_STATUS(memguard_view_release(&views[i]), MEMGUARD_OK);
    CHECK_STATUS(write_status(secret), MEMGUARD_OK);
    destroy(secret);
}

TEST(handle_in_a_seat_does_not_look_like_one) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 5);
    memguard_view view = hold(secret);
    const unsigned char *at = (const unsigned char *)mg__thread_known()->next_seat;
    for (size_t i = 0; i + 8 <= sizeof(struct mg__seat); i++)
        CHECK(memcmp(at + i, &secret.id, 8) != 0 && memcmp(at + i, &view.data, 8) != 0);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    destroy(secret);
}

TEST(light_read_shows_that_a_secret_is_not_lost) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 5);
    (void)mg__entry_mark(entry_of(secret), MG_MARK_SUSPECT);
    read_once(secret);
    CHECK(!mg__entry_has_mark(entry_of(secret), MG_MARK_SUSPECT));
    destroy(secret);
}

/* ---- against those who change ---- */

TEST(whoever_changes_finds_a_light_reader_and_answers_busy) {
    static const memguard_limits limits = {.size = sizeof limits, .ttl_ms = 3600000};
    memguard_secret secret = make_light(vault, MEMGUARD_MAPPED, 9);
    memguard_view view = hold(secret);
    const uint64_t before = word_of(secret);
    unsigned char source[8] = {1};
    CHECK_STATUS(write_status(secret), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_SEALED), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_freeze(secret), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_resize(secret, 8), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_replace(secret, source, 8), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_secret_limit(secret, &limits), MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_vault_lock(vault, white_kek), MEMGUARD_ERR_BUSY);
    memguard_vault *same = vault;
    CHECK_STATUS(memguard_vault_destroy(&same), MEMGUARD_ERR_BUSY);
    CHECK(word_of(secret) == before && is_pattern(view.data, 40, 9));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(memguard_secret_rest(secret, MEMGUARD_SEALED), MEMGUARD_OK);
    CHECK((word_of(secret) & (MG_WORD_V | MG_WORD_X | MG_WORD_T | MG_WORD_PINS)) == 0);
    CHECK(holds(secret, 9));
    destroy(secret);
}

static memguard_secret raced;
static memguard_view raced_view;
static struct release raced_release;

static void check_expelled(memguard_status expected) {
    const uint64_t before = word_of(raced);
    CHECK_STATUS(write_status(raced), expected);
    disarm();
    if (expected == MEMGUARD_ERR_BUSY) CHECK(word_of(raced) == before);
}

static void sit_down_late(void) {
    CHECK((word_of(raced) & (MG_WORD_X | MG_WORD_T | MG_WORD_V)) == (MG_WORD_X | MG_WORD_T | MG_WORD_V));
    atomic_store(&mg__thread_known()->next_seat->read, mg__read_of(raced.id));
}

TEST(reader_whose_note_comes_into_sight_by_the_fence_keeps_a_writer_out) {
    raced = make_light(vault, MEMGUARD_COMPACT, 2);
    arm(sit_down_late);
    check_expelled(MEMGUARD_ERR_BUSY);
    atomic_store(&mg__thread_known()->next_seat->read, 0);
    CHECK_STATUS(write_status(raced), MEMGUARD_OK);
    destroy(raced);
}

static void *read_elsewhere(void *arg) {
    struct release *release = arg;
    CHECK(mg__thread_self() != NULL); /* without a record it would need a pin */
    release->status = memguard_secret_acquire(raced, MEMGUARD_READ, &release->view);
    return NULL;
}

static pthread_t reader;
static void let_a_reader_come(void) {
    CHECK(pthread_create(&reader, NULL, read_elsewhere, &raced_release) == 0);
    sleep_ms(20);
    CHECK(raced_release.status == -1); /* it waits */
}

TEST(reader_who_comes_while_a_writer_looks_waits_and_does_not_get_in) {
    raced = make_light(vault, MEMGUARD_MAPPED, 2);
    raced_release = (struct release){.status = -1};
    arm(let_a_reader_come);
    memguard_view view;
    CHECK_STATUS(memguard_secret_acquire(raced, MEMGUARD_WRITE, &view), MEMGUARD_OK);
    CHECK(pthread_join(reader, NULL) == 0);
    disarm();
    CHECK_STATUS(raced_release.status, MEMGUARD_ERR_BUSY);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    destroy(raced);
}

/* ---- against destroy ---- */

TEST(destroyed_while_light_readers_hold_it_ends_with_the_last) {
    for (int first = 0; first < 2; first++) {
        memguard_secret secret = make_light(vault, first ? MEMGUARD_COMPACT : MEMGUARD_MAPPED, 4), copy = secret;
        memguard_view views[2] = {hold(secret), hold(secret)}, none;
        CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
        CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &none), MEMGUARD_ERR_STALE);
        CHECK_STATUS(use_status(secret, 4), MEMGUARD_ERR_STALE);
        CHECK(is_pattern(views[0].data, 40, 4));
        CHECK_STATUS(memguard_view_release(&views[first]), MEMGUARD_OK);
        CHECK(!is_gone(secret.id) && is_pattern(views[!first].data, 40, 4));
        CHECK_STATUS(memguard_view_release(&views[!first]), MEMGUARD_OK);
        CHECK(is_gone(secret.id));
    }
}

TEST(destroyed_while_light_and_heavy_readers_hold_it_ends_with_the_last) {
    for (int first = 0; first < 2; first++) {
        memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 4), copy = secret;
        memguard_view views[2];
        atomic_fetch_and(&entry_of(secret)->word, ~MG_WORD_V);
        views[0] = hold(secret);
        mg__entry_let_read_lightly(entry_of(secret));
        views[1] = hold(secret);
        CHECK(!is_light(&views[0]) && is_light(&views[1]));
        CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
        CHECK_STATUS(memguard_view_release(&views[first]), MEMGUARD_OK);
        CHECK(!is_gone(secret.id));
        CHECK_STATUS(memguard_view_release(&views[!first]), MEMGUARD_OK);
        CHECK(is_gone(secret.id));
    }
}

static void release_inside(void) {
    CHECK((word_of(raced) & MG_WORD_D) != 0);
    CHECK_STATUS(memguard_view_release(&raced_view), MEMGUARD_OK);
    CHECK(!is_gone(raced.id)); /* the destroyer has a pin */
}

TEST(reader_who_leaves_while_the_destroyer_looks_leaves_the_end_to_him) {
    raced = make_light(vault, MEMGUARD_MAPPED, 2);
    memguard_secret copy = raced;
    raced_view = hold(raced);
    arm(release_inside);
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
    disarm();
    CHECK(is_gone(raced.id));
}

/* Its note was in a store buffer: in sight for those who looked, and gone after the fence. */
static void come_and_go(void) {
    struct mg__seat *seat = mg__thread_known()->next_seat;
    atomic_store(&seat->read, mg__read_of(raced.id));
    CHECK(mg__light_any(raced.id));
    atomic_store(&seat->read, 0);
}

TEST(reader_who_came_too_late_does_not_keep_a_dying_secret_alive) {
    raced = make_light(vault, MEMGUARD_MAPPED, 2);
    memguard_secret copy = raced;
    arm(come_and_go);
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
    disarm();
    CHECK(is_gone(raced.id));
}

/* The word says D between the two looks of a reader: it leaves its seat again, and sees whether somebody waits for that. */
TEST(seat_left_in_vain_ends_what_waited_for_it) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 2), copy = secret;
    struct mg__seat *seat = mg__thread_known()->next_seat;
    atomic_store(&seat->read, mg__read_of(secret.id));
    CHECK_STATUS(memguard_secret_destroy(&copy), MEMGUARD_OK);
    CHECK(!is_gone(secret.id));
    atomic_store(&seat->read, 0);
    mg__light_finish(entry_of(secret), secret.id);
    CHECK(is_gone(secret.id));
    mg__light_finish(entry_of(secret), secret.id); /* and again: nothing */
}

/* ---- against purge ---- */

static void check_purge_revokes(uint32_t rest, int holders) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    memguard_secret secret = make_light(own, rest, 6), idle = make_light(own, rest, 8);
    struct release held[4] = {{.status = -1}};
    raced = secret;
    for (int i = 0; i < holders; i++)
        run_in_thread(read_elsewhere, &held[i]);
    const unsigned char *data = held[0].view.data;
    CHECK(is_pattern(data, 40, 6) && is_light(&held[0].view));
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    CHECK(can_read(data) == 0);
    CHECK(report_of(own).revoked == (uint64_t)holders && report_of(own).borrows == 0);
    CHECK(is_gone(idle.id) && !is_gone(secret.id));
    CHECK_STATUS(memguard_secret_destroy(&secret), MEMGUARD_ERR_STALE);
    for (int i = 0; i < holders; i++) {
        memguard_view copy = held[i].view;
        CHECK_STATUS(memguard_view_release(&held[i].view), MEMGUARD_ERR_REVOKED);
        CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
    }
    CHECK(is_gone(raced.id));
    secret = make_light(own, rest, 1); /* the vault may be used again */
    CHECK(holds(secret, 1));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(purge_takes_away_what_light_readers_hold_and_counts_them) {
    check_purge_revokes(MEMGUARD_MAPPED, 1);
    check_purge_revokes(MEMGUARD_MAPPED, 3);
    check_purge_revokes(MEMGUARD_COMPACT, 1);
    check_purge_revokes(MEMGUARD_COMPACT, 3);
}

TEST(vault_may_be_destroyed_with_revoked_views_out) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    struct release held = {.status = -1};
    raced = make_light(own, MEMGUARD_COMPACT, 6);
    run_in_thread(read_elsewhere, &held);
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&held.view), MEMGUARD_ERR_REVOKED);
    CHECK(is_gone(raced.id));
}

static void *release_soon(void *arg) {
    sleep_ms(30);
    return release_it(arg);
}

TEST(purge_waits_for_light_readers) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    struct release held = {.status = -1};
    pthread_t thread;
    raced = make_light(own, MEMGUARD_MAPPED, 6);
    run_in_thread(read_elsewhere, &held);
    CHECK(pthread_create(&thread, NULL, release_soon, &held) == 0);
    CHECK_STATUS(memguard_vault_purge(own, 20000), MEMGUARD_OK);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(held.status, MEMGUARD_OK);
    CHECK(is_gone(raced.id));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

TEST(purge_from_inside_a_light_borrow_is_done_by_its_release) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    memguard_secret secret = make_light(own, MEMGUARD_COMPACT, 6), other = make_light(own, MEMGUARD_MAPPED, 7);
    memguard_view view = hold(secret), none;
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_OK);
    CHECK(is_gone(other.id) && !is_gone(secret.id) && is_pattern(view.data, 40, 6));
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &none), MEMGUARD_ERR_STALE);
    CHECK(report_of(own).purges == 0);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK(is_gone(secret.id) && report_of(own).purges == 1 && report_of(own).revoked == 0);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

/* A seat that is busy: the library is between its notes, and looks at the bytes. */
static struct mg__seat *busy_seat;
static uint64_t busy_mark;
static _Atomic int purged;

static void *be_done_soon(void *arg) {
    sleep_ms(40);
    CHECK(atomic_load(&purged) == 0 && can_read(arg) == 1);
    atomic_store(&busy_seat->mark, busy_mark);
    return NULL;
}

TEST(purge_takes_nothing_away_while_the_library_is_at_it) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    struct release held = {.status = -1};
    pthread_t thread;
    raced = make_light(own, MEMGUARD_MAPPED, 6);
    run_in_thread(read_elsewhere, &held);
    const uint32_t number = (uint32_t)(held.view.pin[1] >> (MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS + MG_VIEW_ACCESS_BITS));
    busy_seat = mg__thread_seat(mg__thread_by_number(number), 0);
    busy_mark = atomic_exchange(&busy_seat->mark, 0);
    atomic_store(&purged, 0);
    if (!CHECK(busy_mark != 0)) return;
    CHECK(pthread_create(&thread, NULL, be_done_soon, held.view.data) == 0);
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    atomic_store(&purged, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(can_read(held.view.data) == 0);
    CHECK_STATUS(memguard_view_release(&held.view), MEMGUARD_ERR_REVOKED);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

/* The purge has marked it, and looks for whom to count: the holder who comes back now is one of them. */
static pthread_t releaser;
static void begin_release(void) {
    if ((word_of(raced) & MG_WORD_R) == 0) {
        inside = begin_release; /* the fence of the gate */
        return;
    }
    CHECK(pthread_create(&releaser, NULL, release_it, &raced_release) == 0);
    sleep_ms(20);
    CHECK(raced_release.status == -1); /* it waits for the end of the revocation */
}

TEST(release_during_a_revocation_is_counted_and_answers_revoked) {
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_LOCKED, MEMGUARD_NO_THREAD);
    raced = make_light(own, MEMGUARD_MAPPED, 6);
    raced_release = (struct release){.status = -1};
    run_in_thread(read_elsewhere, &raced_release);
    raced_release.status = -1;
    arm(begin_release);
    CHECK_STATUS(memguard_vault_purge(own, 0), MEMGUARD_ERR_REVOKED);
    CHECK(pthread_join(releaser, NULL) == 0);
    disarm();
    CHECK_STATUS(raced_release.status, MEMGUARD_ERR_REVOKED);
    CHECK(report_of(own).revoked == 1 && is_gone(raced.id));
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
}

/* ---- views that are copied, and released by others ---- */

TEST(copied_light_view_is_released_once_by_whatever_thread) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 2);
    memguard_view view = hold(secret), copy = view, another = view;
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
    CHECK_STATUS(release_elsewhere(another), MEMGUARD_ERR_STALE);
    memguard_view next = hold(secret), outer = hold(secret); /* in the same seat, and in another one */
    CHECK_STATUS(release_elsewhere(another), MEMGUARD_ERR_STALE);
    CHECK_STATUS(memguard_view_release(&another), MEMGUARD_ERR_STALE);
    copy = next;
    CHECK_STATUS(release_elsewhere(next), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
    copy = outer;
    CHECK_STATUS(memguard_view_release(&outer), MEMGUARD_OK);
    CHECK_STATUS(release_elsewhere(copy), MEMGUARD_ERR_STALE);
    CHECK(borrows_of(secret) == 0);
    CHECK_STATUS(write_status(secret), MEMGUARD_OK);
    destroy(secret);
}

TEST(altered_light_view_is_stale_and_releases_nothing) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 2), other = make_light(vault, MEMGUARD_COMPACT, 3);
    memguard_view view = hold(secret);
    for (unsigned bit = 0; bit < 47; bit++) { /* serial, place, access */
        memguard_view altered = view;
        altered.pin[1] ^= (uint64_t)1 << bit;
        CHECK_STATUS(memguard_view_release(&altered), MEMGUARD_ERR_STALE);
    }
    memguard_view altered = view;
    altered.pin[0] = other.id;
    CHECK_STATUS(memguard_view_release(&altered), MEMGUARD_ERR_STALE);
    CHECK(borrows_of(secret) == 1 && borrows_of(other) == 0);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    destroy(secret);
    destroy(other);
}

/* The other thread has claimed the seat and fences; the owner comes first. */
static _Atomic int claimed;
static void *own_and_release(void *arg) {
    struct release *release = arg;
    CHECK(mg__thread_self() != NULL);
    release->view = hold(raced);
    raced_view = release->view;
    atomic_store(&claimed, 1);
    while (atomic_load(&claimed) != 2)
        (void)sched_yield();
    release->status = memguard_view_release(&release->view);
    atomic_store(&claimed, 3);
    return NULL;
}

static void let_the_owner_release(void) {
    atomic_store(&claimed, 2);
    while (atomic_load(&claimed) != 3)
        (void)sched_yield();
}

TEST(owner_who_comes_before_the_claim_is_decided_wins_and_the_other_is_stale) {
    struct release owner = {.status = -1};
    pthread_t thread;
    raced = make_light(vault, MEMGUARD_COMPACT, 2);
    atomic_store(&claimed, 0);
    CHECK(pthread_create(&thread, NULL, own_and_release, &owner) == 0);
    while (atomic_load(&claimed) != 1)
        (void)sched_yield();
    arm(let_the_owner_release);
    CHECK_STATUS(memguard_view_release(&raced_view), MEMGUARD_ERR_STALE);
    disarm();
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(owner.status, MEMGUARD_OK);
    CHECK(borrows_of(raced) == 0);
    destroy(raced);
}

/* The owner has looked at the mark before another thread took the view: its store of the mark comes too late. */
TEST(owner_finds_out_that_another_was_first) {
    memguard_secret secret = make_light(vault, MEMGUARD_MAPPED, 2);
    memguard_view view = hold(secret), copy = view;
    struct mg__seat *seat = mg__thread_seat(mg__thread_known(), view.pin[1] >> MG_VIEW_SERIAL_BITS & ((1U << MG_VIEW_PLACE_BITS) - 1));
    const uint64_t read = atomic_load(&seat->read);
    atomic_store(&seat->mark, 0); /* as the owner's first step */
    atomic_store(&seat->read, read & ~MG_READ_TAKEN);
    CHECK(!mg__seat_decide(seat, read)); /* the other is at it */
    atomic_store(&seat->read, 0);
    CHECK(!mg__seat_decide(seat, read)); /* the other has done it */
    atomic_store(&seat->read, read & ~MG_READ_CLAIMED);
    CHECK(mg__seat_decide(seat, read) && atomic_load(&seat->read) == read); /* the other has not decided yet */
    CHECK(mg__seat_decide(seat, read));                                     /* the other has given up */
    atomic_store(&seat->read, 0);
    CHECK_STATUS(memguard_view_release(&copy), MEMGUARD_ERR_STALE);
    CHECK_STATUS(write_status(secret), MEMGUARD_OK);
    destroy(secret);
}

enum { DUELS = 3000 };
static pthread_barrier_t barrier;
static memguard_view duel_view;
static _Atomic int duel_won;

static void fight(void) {
    memguard_view copy = duel_view;
    pthread_barrier_wait(&barrier);
    const memguard_status status = memguard_view_release(&copy);
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_STALE);
    if (status == MEMGUARD_OK) atomic_fetch_add(&duel_won, 1);
    pthread_barrier_wait(&barrier);
}

static void *fight_often(void *unused) {
    (void)unused;
    for (int i = 0; i < DUELS; i++) {
        pthread_barrier_wait(&barrier);
        fight();
    }
    return NULL;
}

TEST(of_two_threads_that_release_one_view_at_once_exactly_one_does) {
    pthread_t other;
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 2);
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK(pthread_create(&other, NULL, fight_often, NULL) == 0);
    for (int i = 0; i < DUELS; i++) {
        duel_view = hold(secret);
        atomic_store(&mg__thread_known()->heavy, false);
        atomic_store(&duel_won, 0);
        pthread_barrier_wait(&barrier);
        fight();
        CHECK(atomic_load(&duel_won) == 1);
    }
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(borrows_of(secret) == 0);
    CHECK_STATUS(write_status(secret), MEMGUARD_OK);
    destroy(secret);
}

TEST(thread_whose_views_others_release_goes_back_to_pins) {
    memguard_secret secret = make_light(vault, MEMGUARD_COMPACT, 2);
    memguard_view view = hold(secret);
    for (int i = 0; is_light(&view) && i < 100; i++) {
        CHECK_STATUS(release_elsewhere(view), MEMGUARD_OK);
        view = hold(secret);
    }
    CHECK(!is_light(&view));
    CHECK_STATUS(release_elsewhere(view), MEMGUARD_OK);
    atomic_store(&mg__thread_known()->heavy, false);
    destroy(secret);
}

/* ---- threads that end, and forks ---- */

TEST(light_views_of_a_thread_that_has_ended_are_released_by_others) {
    memguard_secret secret = raced = make_light(vault, MEMGUARD_MAPPED, 2);
    struct release held[3];
    for (int i = 0; i < 3; i++) {
        held[i] = (struct release){.status = -1};
        run_in_thread(read_elsewhere, &held[i]);
    }
    CHECK(borrows_of(secret) == 3);
    CHECK_STATUS(write_status(secret), MEMGUARD_ERR_BUSY);
    const uint32_t shift = MG_VIEW_SERIAL_BITS + MG_VIEW_PLACE_BITS + MG_VIEW_ACCESS_BITS;
    const struct mg__thread *record = mg__thread_by_number((uint32_t)(held[1].view.pin[1] >> shift));
    CHECK(atomic_load(&record->orphan) && held[0].view.pin[1] >> shift != held[1].view.pin[1] >> shift);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(memguard_view_release(&held[i].view), MEMGUARD_OK);
    CHECK(!atomic_load(&record->orphan) && record->is_free);
    CHECK_STATUS(write_status(secret), MEMGUARD_OK);
    destroy(secret);
}

static int be_a_child(void *arg) {
    memguard_view view = *(memguard_view *)arg;
    memguard_secret secret = {view.pin[0]};
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_ERR_FORKED);
    CHECK_STATUS(memguard_secret_acquire(secret, MEMGUARD_READ, &view), MEMGUARD_ERR_FORKED);
    _exit(atomic_load(&check_bad) != 0); /* without a look for leaks: what refers to the arena's blocks is zero here */
}

TEST(light_views_are_refused_in_a_forked_child) {
    memguard_secret secret = make_light(vault, MEMGUARD_MAPPED, 2);
    memguard_view view = hold(secret);
    CHECK(check_exited(check_child(be_a_child, &view), 0));
    CHECK(is_pattern(view.data, 40, 2));
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    destroy(secret);
}

/* In a process that has a COPY vault, too: the child goes on with that one, and the light view's vault stayed in the parent. */
static int fork_beside_a_copy(void *arg) {
    (void)arg;
    memguard_options options = MEMGUARD_OPTIONS_INIT;
    memguard_vault *own = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD), *copied = NULL;
    memguard_secret secret = make_light(own, MEMGUARD_COMPACT, 2);
    memguard_view view = hold(secret);
    options.backend = MEMGUARD_BACKEND_PLAIN;
    options.fork_policy = MEMGUARD_FORK_COPY;
    options.flags = MEMGUARD_NO_THREAD;
    CHECK_STATUS(memguard_vault_create(&options, &copied), MEMGUARD_OK);
    memguard_secret kept = make_secret(copied, 40, MEMGUARD_COMPACT, 3);
    memguard_view kept_view = hold(kept), other = hold(secret);
    CHECK(is_light(&view) && !is_light(&other) && !is_light(&kept_view));
    const pid_t child = fork();
    if (child == 0) {
        CHECK(holds(kept, 3));
        be_a_child(&view);
        CHECK(!mg__light_any(secret.id));
        CHECK_STATUS(memguard_view_release(&kept_view), MEMGUARD_OK);
        CHECK_STATUS(memguard_vault_destroy(&copied), MEMGUARD_OK);
        _exit(atomic_load(&check_bad) != 0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && check_exited(status, 0));
    CHECK(borrows_of(secret) == 2);
    CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&other), MEMGUARD_OK);
    CHECK_STATUS(memguard_view_release(&kept_view), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&own), MEMGUARD_OK);
    CHECK_STATUS(memguard_vault_destroy(&copied), MEMGUARD_OK);
    return atomic_load(&check_bad) != 0;
}

TEST(child_with_copies_forgets_light_readers_of_what_stayed) {
    CHECK(check_exited(check_child(fork_beside_a_copy, NULL), 0));
}

/* ---- all at once ---- */

enum { SECRETS = 3, READERS = 2, STRESS_MS = 700 };
static _Atomic uint64_t shared[SECRETS];
static _Atomic bool stop;
static memguard_vault *stressed;

static memguard_secret any_secret(unsigned *seed) {
    return (memguard_secret){atomic_load(&shared[(*seed = *seed * 1103515245U + 12345U) / 65536U % SECRETS])};
}

static void *read_all(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&stop)) {
        memguard_view view;
        const memguard_status status = memguard_secret_acquire(any_secret(&seed), MEMGUARD_READ, &view);
        if (status != MEMGUARD_OK) {
            CHECK(status == MEMGUARD_ERR_BUSY || status == MEMGUARD_ERR_STALE);
            continue;
        }
        CHECK(view.size == 40 && is_all(view.data, 40, *(const unsigned char *)view.data));
        CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
    }
    return NULL;
}

static void renew(unsigned which, unsigned round) {
    unsigned char bytes[40];
    memguard_secret old = {atomic_load(&shared[which])}, secret;
    memset(bytes, (int)round, sizeof bytes);
    const memguard_status status = memguard_secret_take(stressed, bytes, sizeof bytes, round % 2 ? MEMGUARD_COMPACT : MEMGUARD_MAPPED, &secret);
    if (status == MEMGUARD_OK) atomic_store(&shared[which], secret.id);
    CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_STALE);
    if (status == MEMGUARD_OK && old.id != 0) {
        const memguard_status gone = memguard_secret_destroy(&old);
        CHECK(gone == MEMGUARD_OK || gone == MEMGUARD_ERR_STALE);
    }
}

static void *change_all(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (unsigned round = 0; !atomic_load(&stop); round++) {
        memguard_view view;
        memguard_secret secret = any_secret(&seed);
        if (memguard_secret_acquire(secret, MEMGUARD_WRITE, &view) == MEMGUARD_OK) {
            for (size_t i = 0; i < view.size; i++)
                ((volatile unsigned char *)view.data)[i] = (unsigned char)round;
            CHECK_STATUS(memguard_view_release(&view), MEMGUARD_OK);
        }
        if (round % 8 == 0) {
            const memguard_status status = memguard_secret_rest(secret, round % 16 ? MEMGUARD_MAPPED : MEMGUARD_COMPACT);
            CHECK(status == MEMGUARD_OK || status == MEMGUARD_ERR_BUSY || status == MEMGUARD_ERR_STALE);
        }
        if (round % 64 == 0) renew(round / 64 % SECRETS, round);
        if (round % 32 == 0) sleep_ms(1); /* others are to read often meanwhile */
    }
    return NULL;
}

static void stress(void) {
    pthread_t threads[READERS + 1];
    stressed = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    atomic_store(&stop, false);
    for (unsigned i = 0; i < SECRETS; i++) {
        atomic_store(&shared[i], 0);
        renew(i, i);
    }
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&threads[i], NULL, read_all, (void *)(i + 1)) == 0);
    CHECK(pthread_create(&threads[READERS], NULL, change_all, (void *)(uintptr_t)77) == 0);
    for (unsigned ms = 0; ms < STRESS_MS; ms += 50) {
        sleep_ms(50);
        /* Holders let go soon: nothing is taken away. */
        CHECK_STATUS(memguard_vault_purge(stressed, 60000), MEMGUARD_OK);
        for (unsigned i = 0; i < SECRETS; i++)
            renew(i, ms + i);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i <= READERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(report_of(stressed).borrows == 0 && report_of(stressed).revoked == 0);
    CHECK_STATUS(memguard_vault_destroy(&stressed), MEMGUARD_OK);
    for (unsigned i = 0; i < SECRETS; i++)
        CHECK(is_gone(atomic_load(&shared[i]))); /* none is left because nobody ended it */
}

TEST(readers_writers_destroyers_and_purges_on_few_secrets) { stress(); }

TEST(the_same_without_fences_that_the_rare_side_pays_for) {
    real = mg__sys_table;
    mg__sys_table.membarrier = refuse;
    mg__sys_fence_prepare();
    stress();
    mg__sys_table = real;
    mg__sys_fence_prepare();
}

int main(void) {
    RUN(child_with_copies_forgets_light_readers_of_what_stayed);
    vault = make_vault(MEMGUARD_BACKEND_PLAIN, MEMGUARD_NO_THREAD);
    RUN(light_views_are_refused_in_a_forked_child);
    if (!atomic_load(&mg__sys_light_fences)) return check_end();
    RUN(what_is_read_often_is_read_lightly_and_its_word_stays_as_it_is);
    RUN(without_fences_that_the_rare_side_pays_for_all_read_by_pins);
    RUN(more_than_the_word_can_count_may_read_lightly);
    RUN(handle_in_a_seat_does_not_look_like_one);
    RUN(light_read_shows_that_a_secret_is_not_lost);
    RUN(whoever_changes_finds_a_light_reader_and_answers_busy);
    RUN(reader_whose_note_comes_into_sight_by_the_fence_keeps_a_writer_out);
    RUN(reader_who_comes_while_a_writer_looks_waits_and_does_not_get_in);
    RUN(destroyed_while_light_readers_hold_it_ends_with_the_last);
    RUN(destroyed_while_light_and_heavy_readers_hold_it_ends_with_the_last);
    RUN(reader_who_leaves_while_the_destroyer_looks_leaves_the_end_to_him);
    RUN(reader_who_came_too_late_does_not_keep_a_dying_secret_alive);
    RUN(seat_left_in_vain_ends_what_waited_for_it);
    RUN(purge_takes_away_what_light_readers_hold_and_counts_them);
    RUN(vault_may_be_destroyed_with_revoked_views_out);
    RUN(purge_waits_for_light_readers);
    RUN(purge_from_inside_a_light_borrow_is_done_by_its_release);
    RUN(purge_takes_nothing_away_while_the_library_is_at_it);
    RUN(release_during_a_revocation_is_counted_and_answers_revoked);
    RUN(copied_light_view_is_released_once_by_whatever_thread);
    RUN(altered_light_view_is_stale_and_releases_nothing);
    RUN(owner_who_comes_before_the_claim_is_decided_wins_and_the_other_is_stale);
    RUN(owner_finds_out_that_another_was_first);
    RUN(of_two_threads_that_release_one_view_at_once_exactly_one_does);
    RUN(thread_whose_views_others_release_goes_back_to_pins);
    RUN(light_views_of_a_thread_that_has_ended_are_released_by_others);
    RUN(readers_writers_destroyers_and_purges_on_few_secrets);
    RUN(the_same_without_fences_that_the_rare_side_pays_for);
    RUN(what_must_be_opened_or_counted_or_copied_is_read_by_pins); /* last: it makes this process a copier */
    CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK);
    return check_end();
}
