/* Calls every hook of a library as a server would, with memory that is given back after each call: what the library
 * looks at later, or does not give back, valgrind finds. Its argument is the library. */

#include "crtmp_plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static int frames_kept;
static int answers;
static int replaced;
static uint64_t tickets[8];
static size_t ticket_count;

static void check(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "not so: %s\n", what);
        exit(2);
    }
}

#define CHECK(condition) check(condition, #condition)

/* A text in memory of its own, without a zero behind it. */
static crtmp_Str lend(const char *text) {
    size_t len = strlen(text);
    char *bytes = malloc(len + !len);
    CHECK(bytes != NULL);
    memcpy(bytes, text, len);
    return crtmp_str_of(bytes, len);
}

static void take_back(crtmp_Str text) {
    free((void *)text.ptr);
}

/* Looks at every byte, so that valgrind does. */
static void look(crtmp_Str text) {
    unsigned sum = 0;
    for (size_t index = 0; index < text.len; index++) {
        sum += crtmp_bytes(text)[index];
    }
    fprintf(stderr, "%u%s", sum, sum == 1 ? " " : "\n");
}

static void host_log(const crtmp_HostTable *host, uint32_t level, crtmp_Str text) {
    (void)host, (void)level;
    look(text);
}

static uint64_t host_now_ms(const crtmp_HostTable *host) {
    (void)host;
    return 5;
}

static void host_fail(const crtmp_HostTable *host, crtmp_Str reason) {
    host_log(host, 0, reason);
}

static int32_t host_respond(const crtmp_HostTable *host, uint64_t request, const crtmp_AnswerTable *answer) {
    (void)host, (void)request;
    look(answer->first);
    look(answer->second);
    answers++;
    return CRTMP_OK;
}

static int32_t host_close(const crtmp_HostTable *host, uint64_t conn, crtmp_Str code, crtmp_Str text) {
    (void)host, (void)conn, (void)code, (void)text;
    return CRTMP_OK;
}

static int32_t host_call(const crtmp_HostTable *host, uint64_t conn, crtmp_Str name, crtmp_Str args, uint64_t ticket) {
    (void)host, (void)conn;
    look(name);
    look(args);
    CHECK(ticket_count < 8);
    tickets[ticket_count++] = ticket;
    return CRTMP_OK;
}

static int32_t host_end(const crtmp_HostTable *host, uint64_t conn, uint32_t stream_id, crtmp_Str code,
                        crtmp_Str text) {
    (void)host, (void)conn, (void)stream_id, (void)code, (void)text;
    return CRTMP_OK;
}

static int32_t host_tap(const crtmp_HostTable *host, uint64_t conn, uint32_t stream_id, uint32_t on) {
    (void)host, (void)conn;
    CHECK(stream_id > 0 && on == 1);
    return CRTMP_OK;
}

static int32_t host_header(const crtmp_HostTable *host, uint64_t conn, uint32_t stream_id, uint32_t kind,
                           crtmp_FrameTable *frame) {
    (void)host, (void)conn, (void)stream_id, (void)kind, (void)frame;
    return CRTMP_GONE;
}

static void host_retain(const crtmp_HostTable *host, const void *owner) {
    (void)host, (void)owner;
    frames_kept++;
}

static void host_release(const crtmp_HostTable *host, const void *owner) {
    (void)host;
    if (--frames_kept == 0) {
        free((void *)owner);
    }
}

static int32_t host_timer_set(const crtmp_HostTable *host, uint64_t timer, uint64_t delay_ms, uint64_t period_ms) {
    (void)host, (void)timer, (void)delay_ms, (void)period_ms;
    return CRTMP_OK;
}

static int32_t host_number(const crtmp_HostTable *host, uint64_t number) {
    (void)host, (void)number;
    return CRTMP_OK;
}

static int32_t host_command(const crtmp_HostTable *host, crtmp_Str name, crtmp_Str params, uint32_t rights,
                            uint64_t ticket) {
    (void)host, (void)name, (void)params, (void)rights, (void)ticket;
    return CRTMP_GONE;
}

static int32_t host_command_add(const crtmp_HostTable *host, crtmp_Str command) {
    (void)host;
    look(command);
    return CRTMP_OK;
}

static uint64_t host_source_open(const crtmp_HostTable *host, crtmp_Str name) {
    (void)host, (void)name;
    return 0;
}

static int32_t host_source_frame(const crtmp_HostTable *host, uint64_t source, const crtmp_FrameTable *frame) {
    (void)host, (void)source, (void)frame;
    return CRTMP_GONE;
}

static int32_t host_connect(const crtmp_HostTable *host, crtmp_Str address, crtmp_Str chain, crtmp_Str keys,
                            uint64_t ticket) {
    (void)host, (void)address, (void)chain, (void)keys, (void)ticket;
    return CRTMP_GONE;
}

static int32_t host_http(const crtmp_HostTable *host, crtmp_Str request, crtmp_Str body, uint64_t ticket) {
    (void)host, (void)request, (void)body, (void)ticket;
    return CRTMP_GONE;
}

static int32_t host_link(const crtmp_HostTable *host, uint64_t conn, crtmp_Str what, uint64_t ticket) {
    (void)host, (void)conn, (void)ticket;
    look(what);
    return CRTMP_GONE;
}

static crtmp_Str host_folder(const crtmp_HostTable *host) {
    (void)host;
    return crtmp_str("/");
}

static crtmp_Str host_name(const crtmp_HostTable *host) {
    (void)host;
    return crtmp_str("driven");
}

static void out_fail(const crtmp_OutTable *out, crtmp_Str reason) {
    (void)out;
    look(reason);
}

static void out_replace(const crtmp_OutTable *out, crtmp_Str body) {
    (void)out;
    look(body);
    replaced++;
}

/* Calls a hook of a connection with a copy of both tables, which are given back at once. */
#define HOOK(hook, type, ...)                                                                    \
    do {                                                                                         \
        crtmp_ConnTable *conn = calloc(1, sizeof *conn);                                         \
        type *what = calloc(1, sizeof *what);                                                    \
        CHECK(conn != NULL && what != NULL && app->hook != NULL);                                \
        *conn = (crtmp_ConnTable){.size = sizeof *conn, .id = 5, .user = &user, .app = one,       \
                                  .peer = one, .extra = object};                                 \
        *what = (type){.size = sizeof *what, __VA_ARGS__};                                       \
        status = app->hook(instance, conn, what);                                                \
        free(conn);                                                                              \
        free(what);                                                                              \
    } while (0)

/* The same for a hook of no connection. */
#define TELL(hook, type, ...)                                                                    \
    do {                                                                                         \
        type *what = calloc(1, sizeof *what);                                                    \
        CHECK(what != NULL && app->hook != NULL);                                                \
        *what = (type){.size = sizeof *what, __VA_ARGS__};                                       \
        status = app->hook(instance, what);                                                      \
        free(what);                                                                              \
    } while (0)

static void drive(const crtmp_AppTable *app, const crtmp_HostTable *host) {
    static const uint8_t silence[] = {0xaf, 1, 0x21, 0};
    crtmp_Str one = lend("stream"), object = lend("{\"a\":[1]}"), list = lend("[null,1]"), empty = lend("{}");
    crtmp_Str thread = lend("thread"), panic = lend("panic"), wrong = lend("{\"unknown\":1}");
    void *instance = NULL, *user = NULL;
    int32_t status;

    CHECK(app->validate(host, empty) == CRTMP_OK);
    CHECK(app->validate(host, wrong) == CRTMP_FAILED);
    CHECK(app->create(host, wrong, &instance) == CRTMP_FAILED);
    CHECK(app->create(host, empty, &instance) == CRTMP_OK);

    HOOK(on_accept, crtmp_ConnectRequest, .request = 1);
    HOOK(on_connect, crtmp_ConnectRequest, .request = 2);
    HOOK(on_publish, crtmp_PublishRequest, .request = 3, .stream_id = 1, .name = one);
    CHECK(status == CRTMP_OK && answers == 3);
    HOOK(on_publish, crtmp_PublishRequest, .request = 4, .stream_id = 2, .name = thread);
    CHECK(status == CRTMP_LATER && answers == 4);
    HOOK(on_play, crtmp_PlayRequest, .request = 5, .stream_id = 3, .name = one, .start_ms = CRTMP_PLAY_ANY);
    CHECK(status == CRTMP_OK && ticket_count == 2);
    HOOK(on_message, crtmp_MessageRequest, .request = 6, .wants_reply = 1, .name = one, .args = list);
    CHECK(status == CRTMP_OK);
    HOOK(on_message, crtmp_MessageRequest, .request = 7, .wants_reply = 1, .name = panic, .args = list);
    CHECK(status == CRTMP_PANICKED);
    HOOK(on_metadata, crtmp_MetadataNotice, .stream_id = 1, .name = one, .values = object);

    for (int count = 0; count < 3; count++) {
        /* The frame's memory is in use as long as anybody has retained it. */
        uint8_t *body = malloc(sizeof silence);
        CHECK(body != NULL);
        memcpy(body, silence, sizeof silence);
        crtmp_FrameTable frame = {.size = sizeof frame,
                                  .kind = CRTMP_FRAME_AUDIO,
                                  .role = CRTMP_ROLE_KEY,
                                  .data_at = 2,
                                  .body = crtmp_str_of(body, sizeof silence),
                                  .owner = body};
        frames_kept = 1;
        HOOK(on_frame, crtmp_FrameNotice, .stream_id = 1, .name = one, .frame = &frame);
        CHECK(status == CRTMP_OK && frames_kept == 2);
        /* The last one is still kept when the instance ends. */
        if (count < 2) {
            HOOK(on_unpublish, crtmp_StreamNotice, .stream_id = 1, .name = one);
            CHECK(frames_kept == 1);
        }
        host_release(host, body);
    }

    HOOK(on_unplay, crtmp_StreamNotice, .stream_id = 3, .why = CRTMP_ENDED_BY_SOURCE, .name = one);
    HOOK(on_cancel, crtmp_CancelNotice, .request = 4);
    HOOK(on_pong, crtmp_PongNotice, .rtt_ms = 3, .received = 5);
    TELL(on_stream, crtmp_StreamStateNotice, .conn = 5, .live = 1, .name = one);
    TELL(on_source, crtmp_SourceNotice, .source = 1, .state = CRTMP_SOURCE_ENDED, .text = one);
    TELL(on_timer, crtmp_TimerNotice, .timer = 1);
    TELL(on_result, crtmp_ResultNotice, .ticket = tickets[0], .status = CRTMP_RESULT_OK, .value = list);
    CHECK(status == CRTMP_OK);
    TELL(on_command, crtmp_CommandRequest, .request = 8, .name = one, .params = empty);
    CHECK(status == CRTMP_OK);
    HOOK(on_close, crtmp_CloseNotice, .reason = one);
    CHECK(status == CRTMP_OK && user == NULL);
    CHECK(app->destroy(instance) == CRTMP_OK);
    CHECK(frames_kept == 0);

    crtmp_Str lent[] = {one, object, list, empty, thread, panic, wrong};
    for (size_t index = 0; index < sizeof lent / sizeof lent[0]; index++) {
        take_back(lent[index]);
    }
}

static void drive_filter(const crtmp_FilterTable *filter) {
    static const uint8_t silence[] = {0xaf, 1, 0x21, 0};
    crtmp_OutTable out = {.size = sizeof out, .fail = out_fail, .replace = out_replace};
    crtmp_Str empty = lend("{}"), wrong = lend("{\"wrong\":1}"), body = crtmp_str_of(silence, sizeof silence);
    crtmp_FrameTable frame = {.size = sizeof frame, .kind = CRTMP_FRAME_AUDIO, .body = body};
    void *instance = NULL;
    CHECK(filter->create(wrong, &out, &instance) == CRTMP_FAILED);
    CHECK(filter->create(empty, &out, &instance) == CRTMP_OK);
    CHECK(filter->on_frame(instance, &frame, &out) == CRTMP_FILTER_REPLACE && replaced == 1);
    CHECK(filter->destroy(instance) == CRTMP_OK);
    take_back(empty);
    take_back(wrong);
}

int main(int count, char **arguments) {
    static const crtmp_HostTable host = {
        .size = sizeof host,
        .log = host_log,
        .now_ms = host_now_ms,
        .fail = host_fail,
        .respond = host_respond,
        .close_connection = host_close,
        .call = host_call,
        .unpublish = host_end,
        .unplay = host_end,
        .tap = host_tap,
        .sequence_header = host_header,
        .frame_retain = host_retain,
        .frame_release = host_release,
        .timer_set = host_timer_set,
        .timer_cancel = host_number,
        .command = host_command,
        .command_add = host_command_add,
        .command_remove = host_command_add,
        .source_open = host_source_open,
        .source_frame = host_source_frame,
        .source_close = host_number,
        .connect = host_connect,
        .http = host_http,
        .folder = host_folder,
        .name = host_name,
        .pull = host_link,
        .push = host_link,
    };
    CHECK(count == 2);
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const crtmp_PluginTable *plugin = dlsym(library, "CRTMP_PLUGIN_V1");
    CHECK(plugin != NULL && plugin->magic == CRTMP_MAGIC && plugin->abi_major == CRTMP_ABI_MAJOR);
    CHECK(plugin->app_count == 1 && plugin->filter_count == 1);
    drive(plugin->apps[0], &host);
    drive_filter(plugin->filters[0]);
    puts("all hooks were called");
    return 0;
}
