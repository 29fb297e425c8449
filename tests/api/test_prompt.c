/* test_prompt.c: asking at a terminal. Each test is a play: a child with a session and a pseudo terminal of its own asks, and
 * this process is the person at the other side. */
#define _GNU_SOURCE
#include "api/io_support.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

enum { KEY_INTERRUPT = 3, KEY_END = 4, KEY_KILL = 21, KEY_QUOTE = 22, KEY_WORD = 23, KEY_SUSPEND = 26, KEY_QUIT = 28 };

typedef struct play {
    int master;
    pid_t child;
    char shown[20000];    /* what the terminal has shown so far */
    size_t shown_bytes, looked_at;
} play;

/* ---- the person ---------------------------------------------------------------------------------------- */

static struct termios modes_of(int descriptor) {
    struct termios modes;
    memset(&modes, 0, sizeof modes);
    CHECK(tcgetattr(descriptor, &modes) == 0);
    return modes;
}

static int same_modes(const struct termios *a, const struct termios *b) { return memcmp(a, b, sizeof *a) == 0; }

/* What the terminal shows within `ms`; 0: nothing more, or it is gone. */
static int look(play *p, int ms) {
    struct pollfd one = {p->master, POLLIN, 0};
    if (poll(&one, 1, ms) <= 0) return 0;
    const ssize_t got = read(p->master, p->shown + p->shown_bytes, sizeof p->shown - 1 - p->shown_bytes);
    if (got > 0) p->shown_bytes += (size_t)got;
    p->shown[p->shown_bytes] = '\0';
    return got > 0;
}

/* Waits until the text is shown behind what was waited for before. */
static void expect(play *p, const char *text) {
    const char *found = NULL;
    for (uint64_t end = now_ms() + 20000; now_ms() < end;) {
        found = strstr(p->shown + p->looked_at, text);
        if (found != NULL) break;
        (void)look(p, 50);
    }
    if (CHECK(found != NULL)) p->looked_at = (size_t)(found - p->shown) + strlen(text);
}

static void type_bytes(play *p, const char *bytes, size_t size) { put_all(p->master, bytes, size); }
static void type(play *p, const char *text) { type_bytes(p, text, strlen(text)); }

/* ---- the play ------------------------------------------------------------------------------------------ */

static memguard_vault *vault; /* of the child */

static void end_vault(void) { CHECK_STATUS(memguard_vault_destroy(&vault), MEMGUARD_OK); }

/* Runs act(slave) in a child with a session of its own and a new terminal. */
static void begin_at(play *p, int (*act)(int slave), int controlling) {
    char name[64];
    memset(p, 0, sizeof *p);
    fflush(stdout);
    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(p->master >= 0 && grantpt(p->master) == 0 && unlockpt(p->master) == 0);
    CHECK(ptsname_r(p->master, name, sizeof name) == 0);
    p->child = fork();
    if (p->child != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    atomic_store(&check_bad, 0);
    signal(SIGHUP, SIG_IGN);
    CHECK(setsid() >= 0);
    const int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave >= 0 && (!controlling || ioctl(slave, TIOCSCTTY, 0) == 0));
    close(p->master);
    const int code = act(slave);
    end_vault();
    exit(code == 0 && atomic_load(&check_bad) != 0 ? 99 : code);
}

static void begin(play *p, int (*act)(int slave)) { begin_at(p, act, 1); }

/* The child comes to its end, and all was as it expected. */
static void end(play *p) {
    int state = -1;
    uint64_t end = now_ms() + 30000;
    while (waitpid(p->child, &state, WNOHANG) == 0 && now_ms() < end) (void)look(p, 5);
    while (look(p, 5)) {
    }
    if (state == -1) kill(p->child, SIGKILL), waitpid(p->child, NULL, 0);
    if (!CHECK(check_exited(state, 0))) printf("  the child ended with state 0x%x\n", (unsigned)state);
    close(p->master);
}

/* ---- what the children do ------------------------------------------------------------------------------ */

static memguard_status ask(const char *text, size_t most, uint32_t flags, memguard_secret *secret) {
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    options.text = text;
    options.most = most;
    options.flags = flags;
    return memguard_prompt(vault, &options, MEMGUARD_SEALED, secret);
}

/* Asks once; the terminal must be as before, bytewise. */
static memguard_secret ask_at(int slave, size_t most, uint32_t flags, memguard_status expected) {
    memguard_secret secret = {77};
    if (vault == NULL) vault = vault_make();
    const struct termios before = modes_of(slave);
    CHECK_STATUS(ask("Password: ", most, flags, &secret), expected);
    const struct termios after = modes_of(slave);
    CHECK(same_modes(&before, &after));
    CHECK((expected == MEMGUARD_OK) == (secret.id != 0));
    return secret;
}

static int expect_text(int slave, const char *text) {
    memguard_secret secret = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds_text(secret, text));
    end_vault();
    return 0;
}

static int expect_status(int slave, memguard_status status) {
    (void)ask_at(slave, 0, 0, status);
    CHECK(report_of(vault).secrets[MEMGUARD_CLOSED] == 0 && report_of(vault).secrets[MEMGUARD_SEALED] == 0);
    end_vault();
    return 0;
}

/* ---- plays --------------------------------------------------------------------------------------------- */

static int expect_sesame(int slave) { return expect_text(slave, "sesame"); }

TEST(the_line_is_not_shown_and_the_terminal_is_restored) {
    play p;
    begin(&p, expect_sesame);
    expect(&p, "Password: ");
    const struct termios during = modes_of(p.master);
    CHECK((during.c_lflag & (ECHO | ECHONL | ISIG)) == 0 && (during.c_lflag & ICANON) != 0);
    type(&p, "sesame\r");
    expect(&p, "\r\n");
    end(&p);
    CHECK(strcmp(p.shown, "Password: \r\n") == 0);
}

TEST(the_line_can_be_edited) {
    static const char keys[] = {'w', 'r', 'o', 'n', 'g', KEY_KILL, 's', 'e', 's', 'a', 'x', 0x7f, 'm', 'e',
                                ' ', 'w', 'o', 'r', 'd', KEY_WORD, 0x7f, '\r'};
    play p;
    begin(&p, expect_sesame);
    expect(&p, "Password: ");
    type_bytes(&p, keys, sizeof keys);
    end(&p);
}

static int expect_umlauts(int slave) {
    struct termios modes = modes_of(slave);
    modes.c_iflag |= IUTF8;
    CHECK(tcsetattr(slave, TCSANOW, &modes) == 0);
    memguard_secret secret = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds_text(secret, "sch\xc3\xb6n"));
    modes.c_iflag &= ~(tcflag_t)IUTF8;
    CHECK(tcsetattr(slave, TCSANOW, &modes) == 0);
    return 0;
}

TEST(erasing_takes_whole_characters_where_the_terminal_does) {
    play p;
    begin(&p, expect_umlauts);
    expect(&p, "Password: ");
    type(&p, "sch\xc3\xb6\xc3\xbc\x7fn\r");
    end(&p);
}

static int expect_interrupted(int slave) { return expect_status(slave, MEMGUARD_ERR_INTERRUPTED); }

TEST(interrupt_and_suspend_break_off_without_a_signal) {
    static const char keys[] = {KEY_INTERRUPT, KEY_SUSPEND};
    for (int i = 0; i < 4; i++) {
        play p;
        begin(&p, expect_interrupted); /* a signal would end or stop it */
        expect(&p, "Password: ");
        if (i >= 2) type(&p, "half");
        type_bytes(&p, &keys[i % 2], 1);
        expect(&p, "\r\n");
        end(&p);
        CHECK(strcmp(p.shown, "Password: \r\n") == 0);
    }
}

TEST(quit_breaks_off_when_the_line_ends) {
    static const char keys[] = {'h', 'a', KEY_QUIT, 'l', 'f', '\r'};
    play p;
    begin(&p, expect_interrupted);
    expect(&p, "Password: ");
    type_bytes(&p, keys, sizeof keys);
    end(&p);
}

static int expect_control_c(int slave) {
    memguard_secret secret = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds(secret, "a\003b", 3));
    return 0;
}

TEST(a_quoted_interrupt_key_is_a_character) {
    static const char keys[] = {'a', KEY_QUOTE, KEY_INTERRUPT, 'b', '\r'};
    play p;
    begin(&p, expect_control_c);
    expect(&p, "Password: ");
    type_bytes(&p, keys, sizeof keys);
    end(&p);
}

static int expect_short(int slave) { return expect_status(slave, MEMGUARD_ERR_SHORT); }
static int expect_empty(int slave) { return expect_status(slave, MEMGUARD_ERR_EMPTY); }

TEST(the_end_key_on_an_empty_line_is_the_end) {
    static const char key = KEY_END;
    play p;
    begin(&p, expect_short);
    expect(&p, "Password: ");
    type_bytes(&p, &key, 1);
    end(&p);
}

TEST(the_end_key_in_a_line_does_not_end_it) {
    static const char keys[] = {'s', 'e', 's', KEY_END, 'a', 'm', 'e', '\r'};
    play p;
    begin(&p, expect_sesame);
    expect(&p, "Password: ");
    type_bytes(&p, keys, 4);
    sleep_ms(50); /* so that they come in two pieces */
    type_bytes(&p, keys + 4, 4);
    end(&p);
}

TEST(an_empty_line_is_told_from_no_line) {
    play p;
    begin(&p, expect_empty);
    expect(&p, "Password: ");
    type(&p, "\r");
    end(&p);
}

static int expect_two(int slave) {
    memguard_secret first = ask_at(slave, 0, 0, MEMGUARD_OK), second = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds_text(first, "one") && holds_text(second, "two"));
    return 0;
}

TEST(two_prompts_give_two_lines) {
    play p;
    begin(&p, expect_two);
    expect(&p, "Password: ");
    type(&p, "one\r");
    expect(&p, "Password: ");
    type(&p, "two\r");
    end(&p);
}

static int type_ahead(int slave) {
    CHECK(write(slave, "ready", 5) == 5);
    sleep_ms(200);
    return expect_text(slave, "sesame");
}

TEST(what_was_typed_before_is_dropped) {
    play p;
    begin(&p, type_ahead);
    expect(&p, "ready");
    type(&p, "echoed\rand more");
    expect(&p, "Password: ");
    type(&p, "sesame\r");
    end(&p);
}

static int expect_lengths(int slave) {
    memguard_secret secret = ask_at(slave, 10, 0, MEMGUARD_OK);
    CHECK(holds_text(secret, "0123456789"));
    (void)ask_at(slave, 10, 0, MEMGUARD_ERR_SIZE);
    char *line = malloc(4094);
    memset(line, 'x', 4094);
    secret = ask_at(slave, 100000, 0, MEMGUARD_OK);
    CHECK(holds(secret, line, 4094));
    (void)ask_at(slave, 100000, 0, MEMGUARD_ERR_SIZE); /* the kernel may have cut it */
    (void)ask_at(slave, 100000, 0, MEMGUARD_ERR_SIZE); /* it has */
    secret = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds_text(secret, "sesame")); /* nothing of the long ones is left over */
    free(line);
    return 0;
}

TEST(lines_have_a_longest_length_and_are_never_cut_silently) {
    char line[6000];
    play p;
    memset(line, 'x', sizeof line);
    begin(&p, expect_lengths);
    expect(&p, "Password: ");
    type(&p, "0123456789\r");
    expect(&p, "Password: ");
    type(&p, "0123456789a\r");
    for (size_t i = 0; i < 3; i++) {
        static const size_t sizes[] = {4094, 4095, 6000};
        expect(&p, "Password: ");
        type_bytes(&p, line, sizes[i]);
        sleep_ms(50); /* the terminal takes its time; what does not fit would go on as the next line */
        type(&p, "\r");
    }
    expect(&p, "Password: ");
    type(&p, "sesame\r");
    end(&p);
}

static int ask_raw(int slave) {
    struct termios before = modes_of(slave), raw = before;
    cfmakeraw(&raw);
    raw.c_cc[VEOL] = 'q';
    CHECK(tcsetattr(slave, TCSANOW, &raw) == 0);
    memguard_secret secret = ask_at(slave, 0, 0, MEMGUARD_OK);
    CHECK(holds_text(secret, "sesame quick"));
    CHECK(tcsetattr(slave, TCSANOW, &before) == 0);
    return 0;
}

TEST(a_terminal_in_raw_mode_asks_for_a_line_and_is_raw_again) {
    play p;
    begin(&p, ask_raw);
    expect(&p, "Password: ");
    type(&p, "sesame quick\r");
    end(&p);
}

/* ---- terminals that are not there, or not ours --------------------------------------------------------- */

static int ask_from_behind(void *arg) {
    CHECK(setpgid(0, 0) == 0);
    return expect_status(*(int *)arg, MEMGUARD_ERR_STATE);
}

static int stay_behind(int slave) { return check_exited(check_child(ask_from_behind, &slave), 0) ? 0 : 1; }

TEST(in_the_background_nothing_is_asked_and_nobody_is_stopped) {
    play p;
    begin(&p, stay_behind);
    end(&p);
    CHECK(p.shown_bytes == 0);
}

/* In a session of its own without a terminal: arg is what standard input shall be. */
static int ask_without_terminal(void *arg) {
    int errors[2];
    char said[100] = {0};
    memguard_secret secret = {0};
    signal(SIGHUP, SIG_IGN);
    CHECK(setsid() >= 0 && pipe(errors) == 0);
    CHECK(dup2(*(int *)arg, STDIN_FILENO) == STDIN_FILENO);
    const int kept = dup(STDERR_FILENO);
    CHECK(dup2(errors[1], STDERR_FILENO) == STDERR_FILENO);
    vault = vault_make();
    CHECK_STATUS(ask("Say it: ", 0, MEMGUARD_PROMPT_NEED_TERMINAL, &secret), MEMGUARD_ERR_IO);
    CHECK(last_os_error() == ENOTTY);
    CHECK_STATUS(ask("Say it: ", 0, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "one"));
    CHECK_STATUS(ask("Say it: ", 0, 0, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "two"));
    CHECK_STATUS(ask("", 0, 0, &secret), MEMGUARD_ERR_EMPTY);
    CHECK_STATUS(ask("", 4, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(ask("", 4, 0, &secret), MEMGUARD_OK); /* an end without a newline */
    CHECK(holds_text(secret, "st"));
    CHECK_STATUS(ask("", 0, 0, &secret), MEMGUARD_ERR_SHORT);
    CHECK(secret.id == 0);
    dup2(kept, STDERR_FILENO);
    CHECK(read(errors[0], said, sizeof said - 1) == 16 && strcmp(said, "Say it: Say it: ") == 0);
    end_vault();
    return 0;
}

TEST(without_a_controlling_terminal_standard_input_is_asked) {
    channel c = open_channel(PIPE);
    put_text(c.in, "one\ntwo\n\nfirstst");
    close_end(&c.in);
    CHECK(check_exited(check_child(ask_without_terminal, &c.out), 0));
    close_channel(&c);
}

/* A terminal that is nobody's controlling one, by its descriptor. */
static int ask_by_descriptor(int slave) {
    memguard_secret secret = {0};
    const memguard_prompt_options options = {.size = sizeof options, .text = "Key? ", .input = slave, .output = slave,
                                             .flags = MEMGUARD_PROMPT_DESCRIPTORS | MEMGUARD_PROMPT_NEED_TERMINAL};
    vault = vault_make();
    CHECK_STATUS(memguard_prompt(vault, &options, MEMGUARD_COMPACT, &secret), MEMGUARD_OK);
    CHECK(holds_text(secret, "sesame"));
    return 0;
}

TEST(a_terminal_can_be_given_as_descriptor) {
    play p;
    begin_at(&p, ask_by_descriptor, 0);
    expect(&p, "Key? ");
    type(&p, "sesame\n");
    end(&p);
    CHECK(strcmp(p.shown, "Key? \r\n") == 0);
}

/* ---- signals, purges, hangups -------------------------------------------------------------------------- */

static void handle(int signal) { (void)signal; }

static int break_off_by_signal(int slave) {
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    return expect_status(slave, MEMGUARD_ERR_INTERRUPTED);
}

static int persist(int slave) {
    struct sigaction action = {.sa_handler = handle};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    memguard_secret secret = ask_at(slave, 0, MEMGUARD_PROMPT_PERSIST, MEMGUARD_OK);
    CHECK(holds_text(secret, "sesame"));
    end_vault();
    return 0;
}

TEST(a_signal_handler_breaks_it_off) {
    play p;
    begin(&p, break_off_by_signal);
    expect(&p, "Password: ");
    type(&p, "half");
    sleep_ms(20);
    /* Threads of the library block it, so it finds the thread that asks; a signal that comes before it waits is lost. */
    for (int i = 0; i < 200 && strstr(p.shown, "\r\n") == NULL; i++) {
        kill(p.child, SIGUSR1);
        (void)look(&p, 20);
    }
    end(&p);
}

TEST(a_signal_handler_does_not_disturb_who_persists) {
    play p;
    begin(&p, persist);
    expect(&p, "Password: ");
    type(&p, "ses");
    for (int i = 0; i < 20; i++) kill(p.child, SIGUSR1), sleep_ms(5);
    type(&p, "ame\r");
    end(&p);
}

static void *purge_soon(void *arg) {
    const atomic_int *thread = arg;
    CHECK(wait_until_asleep(thread));
    CHECK_STATUS(memguard_vault_purge(vault, 3600000), MEMGUARD_OK);
    return NULL;
}

static int ask_beside_a_purge(int slave) {
    pthread_t purger;
    atomic_int self = (int)syscall(SYS_gettid);
    vault = vault_make();
    CHECK(pthread_create(&purger, NULL, purge_soon, &self) == 0);
    (void)ask_at(slave, 0, 0, MEMGUARD_ERR_STALE);
    CHECK(pthread_join(purger, NULL) == 0);
    end_vault();
    return 0;
}

TEST(a_purge_ends_the_prompt_and_the_terminal_is_restored) {
    play p;
    begin(&p, ask_beside_a_purge);
    expect(&p, "Password: ");
    expect(&p, "\r\n"); /* nobody types */
    end(&p);
}

/* The terminal takes no output: who asks waits there, and a purge does not wait for him. */
static void *purge_and_let_go(void *arg) {
    const int *slave = arg;
    atomic_int main_thread = (int)getpid();
    CHECK(wait_until_asleep(&main_thread));
    CHECK_STATUS(memguard_vault_purge(vault, 3600000), MEMGUARD_OK);
    CHECK(tcflow(*slave, TCOON) == 0);
    return NULL;
}

static int ask_at_a_stopped_terminal(int slave) {
    pthread_t purger;
    vault = vault_make();
    CHECK(tcflow(slave, TCOOFF) == 0);
    CHECK(pthread_create(&purger, NULL, purge_and_let_go, &slave) == 0);
    (void)ask_at(slave, 0, 0, MEMGUARD_ERR_STALE);
    CHECK(pthread_join(purger, NULL) == 0);
    end_vault();
    return 0;
}

TEST(a_purge_does_not_wait_for_a_terminal_that_is_stopped) {
    play p;
    begin(&p, ask_at_a_stopped_terminal);
    end(&p);
}

static int be_hung_up(int slave) {
    memguard_secret secret = {77};
    (void)slave;
    vault = vault_make();
    CHECK_AMONG(ask("Password: ", 0, 0, &secret), ANY_OF(ERR_SHORT) | ANY_OF(ERR_IO));
    CHECK(secret.id == 0);
    end_vault();
    return 0;
}

TEST(a_hangup_ends_it) {
    play p;
    int state = -1;
    begin(&p, be_hung_up);
    expect(&p, "Password: ");
    type(&p, "half");
    close(p.master);
    CHECK(waitpid(p.child, &state, 0) == p.child && check_exited(state, 0));
}

/* ---- arguments ----------------------------------------------------------------------------------------- */

static int give_bad_arguments(int slave) {
    memguard_secret secret = {77};
    memguard_prompt_options options = MEMGUARD_PROMPT_OPTIONS_INIT;
    (void)slave;
    vault = vault_make();
    CHECK_STATUS(memguard_prompt(NULL, NULL, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    CHECK(secret.id == 0);
    CHECK_STATUS(memguard_prompt(vault, NULL, 0, NULL), MEMGUARD_ERR_ARGUMENT);
    CHECK_STATUS(memguard_prompt(vault, NULL, 1U << 20, &secret), MEMGUARD_ERR_ARGUMENT);
    options.flags = 1U << 20;
    CHECK_STATUS(memguard_prompt(vault, &options, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    options.flags = 0, options.input = 1;
    CHECK_STATUS(memguard_prompt(vault, &options, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    options.input = 0, options.reserved = 1;
    CHECK_STATUS(memguard_prompt(vault, &options, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    options.reserved = 0, options.size = 0;
    CHECK_STATUS(memguard_prompt(vault, &options, 0, &secret), MEMGUARD_ERR_ARGUMENT);
    options.size = sizeof options, options.most = MEMGUARD_SIZE_MAX + 1;
    CHECK_STATUS(memguard_prompt(vault, &options, 0, &secret), MEMGUARD_ERR_SIZE);
    CHECK_STATUS(memguard_vault_lock(vault, right_kek), MEMGUARD_OK);
    CHECK_STATUS(memguard_prompt(vault, NULL, 0, &secret), MEMGUARD_ERR_LOCKED);
    end_vault();
    return 0;
}

TEST(bad_arguments_and_locked_vaults_ask_nothing) {
    play p;
    begin(&p, give_bad_arguments);
    end(&p);
    CHECK(p.shown_bytes == 0);
}

int main(void) {
    RUN(the_line_is_not_shown_and_the_terminal_is_restored);
    RUN(the_line_can_be_edited);
    RUN(erasing_takes_whole_characters_where_the_terminal_does);
    RUN(interrupt_and_suspend_break_off_without_a_signal);
    RUN(quit_breaks_off_when_the_line_ends);
    RUN(a_quoted_interrupt_key_is_a_character);
    RUN(the_end_key_on_an_empty_line_is_the_end);
    RUN(the_end_key_in_a_line_does_not_end_it);
    RUN(an_empty_line_is_told_from_no_line);
    RUN(two_prompts_give_two_lines);
    RUN(what_was_typed_before_is_dropped);
    RUN(lines_have_a_longest_length_and_are_never_cut_silently);
    RUN(a_terminal_in_raw_mode_asks_for_a_line_and_is_raw_again);
    RUN(in_the_background_nothing_is_asked_and_nobody_is_stopped);
    RUN(without_a_controlling_terminal_standard_input_is_asked);
    RUN(a_terminal_can_be_given_as_descriptor);
    RUN(a_signal_handler_breaks_it_off);
    RUN(a_signal_handler_does_not_disturb_who_persists);
    RUN(a_purge_ends_the_prompt_and_the_terminal_is_restored);
    RUN(a_purge_does_not_wait_for_a_terminal_that_is_stopped);
    RUN(a_hangup_ends_it);
    RUN(bad_arguments_and_locked_vaults_ask_nothing);
    return check_end();
}
