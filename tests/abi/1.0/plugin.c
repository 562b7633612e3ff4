/* A plugin that uses every hook and every call of version 1.0, built with the header as it was then. Each hook writes a
 * line into the log that the test looks for. It never changes, and every later server must load it. */

#include "crtmp_plugin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct everything {
    const crtmp_HostTable *host;
    uint64_t put_off;
    uint64_t source;
};

/* ---- the application ---- */

static void say(const void *instance, const char *format, ...) {
    const crtmp_HostTable *host = ((const struct everything *)instance)->host;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    crtmp_log(host, 3, text);
}

static int32_t validate(const crtmp_HostTable *host, crtmp_Str settings) {
    return crtmp_str_eq(settings, "{\"bad\":true}") ? crtmp_fail(host, "bad settings") : CRTMP_OK;
}

static int32_t create(const crtmp_HostTable *host, crtmp_Str settings, void **instance) {
    struct everything *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return crtmp_fail(host, "no memory");
    }
    self->host = host;
    *instance = self;
    say(self, "create %.*s %.*s in %.*s, %d", CRTMP_PRINT(host->name(host)), CRTMP_PRINT(settings),
        CRTMP_PRINT(host->folder(host)), host->size >= sizeof *host);
    host->timer_set(host, 7, 10, 0);
    host->timer_set(host, 8, 3600000, 1000);
    host->timer_cancel(host, 8);
    host->command_add(host, crtmp_str("{\"name\":\"everything\",\"description\":\"says what it got\","
                                      "\"readOnly\":true,\"parameters\":[]}"));
    return CRTMP_OK;
}

static int32_t destroy(void *instance) {
    say(instance, "destroy");
    free(instance);
    return CRTMP_OK;
}

static int32_t on_accept(void *instance, const crtmp_ConnTable *conn, const crtmp_ConnectRequest *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    say(instance, "on_accept %.*s", CRTMP_PRINT(conn->peer));
    return crtmp_accept(host, what->request);
}

static int32_t on_connect(void *instance, const crtmp_ConnTable *conn, const crtmp_ConnectRequest *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    say(instance, "on_connect %.*s %.*s %.*s %d", CRTMP_PRINT(conn->app), CRTMP_PRINT(conn->agent),
        CRTMP_PRINT(conn->extra), *conn->user == NULL);
    *conn->user = calloc(1, 16);
    if (crtmp_str_eq(conn->app, "other")) {
        return crtmp_answer(host, what->request, CRTMP_ANSWER_HAND_TO, "flvplayback", NULL);
    }
    return crtmp_accept(host, what->request);
}

static int32_t on_publish(void *instance, const crtmp_ConnTable *conn, const crtmp_PublishRequest *what) {
    struct everything *self = instance;
    const crtmp_HostTable *host = self->host;
    say(self, "on_publish %.*s?%.*s %u %u", CRTMP_PRINT(what->name), CRTMP_PRINT(what->query), what->stream_id,
        what->kind);
    if (crtmp_str_eq(what->name, "bad")) {
        return crtmp_reject(host, what->request, "no bad streams");
    }
    if (crtmp_str_eq(what->name, "a")) {
        return crtmp_accept_as(host, what->request, "b");
    }
    if (crtmp_str_eq(what->name, "fail")) {
        return crtmp_fail(host, "as ordered");
    }
    if (crtmp_str_eq(what->name, "later")) {
        self->put_off = what->request;
        return CRTMP_LATER;
    }
    host->tap(host, conn->id, what->stream_id, 1);
    return crtmp_accept(host, what->request);
}

static int32_t on_play(void *instance, const crtmp_ConnTable *conn, const crtmp_PlayRequest *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    (void)conn;
    say(instance, "on_play %.*s %d %u", CRTMP_PRINT(what->name), what->start_ms == CRTMP_PLAY_ANY, what->reset);
    return crtmp_answer(host, what->request, CRTMP_ANSWER_REDIRECT, "rtmp://elsewhere/live", NULL);
}

/* Each command of the far end makes one call of the server. */
static int32_t on_message(void *instance, const crtmp_ConnTable *conn, const crtmp_MessageRequest *what) {
    struct everything *self = instance;
    const crtmp_HostTable *host = self->host;
    crtmp_FrameTable frame;
    int32_t status = CRTMP_INVALID;
    say(self, "on_message %.*s %.*s %u", CRTMP_PRINT(what->name), CRTMP_PRINT(what->args), what->wants_reply);
    memset(&frame, 0, sizeof frame);
    frame.size = sizeof frame;
    if (crtmp_str_eq(what->name, "close")) {
        status = host->close_connection(host, conn->id, crtmp_str("Code"), crtmp_str("bye"));
    } else if (crtmp_str_eq(what->name, "call")) {
        status = host->call(host, conn->id, crtmp_str("hello"), crtmp_str("[null,1]"), 1);
    } else if (crtmp_str_eq(what->name, "unpublish")) {
        status = host->unpublish(host, conn->id, 0, crtmp_str(""), crtmp_str("enough"));
    } else if (crtmp_str_eq(what->name, "unplay")) {
        status = host->unplay(host, conn->id, 0, crtmp_str(""), crtmp_str("enough"));
    } else if (crtmp_str_eq(what->name, "header")) {
        status = host->sequence_header(host, conn->id, what->stream_id, CRTMP_FRAME_VIDEO, &frame);
        if (status == CRTMP_OK) {
            host->frame_release(host, frame.owner);
        }
    } else if (crtmp_str_eq(what->name, "command")) {
        status = host->command(host, crtmp_str("version"), crtmp_str("{}"), CRTMP_RIGHTS_READ, 2);
    } else if (crtmp_str_eq(what->name, "forget")) {
        status = host->command_remove(host, crtmp_str("everything"));
    } else if (crtmp_str_eq(what->name, "connect")) {
        status = host->connect(host, crtmp_str("127.0.0.1:1"), crtmp_str("outboundRtmp"), crtmp_str("{}"), 3);
    } else if (crtmp_str_eq(what->name, "http")) {
        status = host->http(host, crtmp_str("{\"url\":\"http://127.0.0.1/\"}"), crtmp_str("body"), 4);
    } else if (crtmp_str_eq(what->name, "pull")) {
        status = host->pull(host, conn->id, crtmp_str("{\"name\":\"a?b\",\"localName\":\"c\"}"), 5);
    } else if (crtmp_str_eq(what->name, "push")) {
        status = host->push(host, conn->id, crtmp_str("{\"name\":\"a?b\",\"type\":\"append\"}"), 6);
    } else if (crtmp_str_eq(what->name, "source")) {
        self->source = host->source_open(host, crtmp_str("made"));
        status = self->source == 0 ? CRTMP_INVALID : CRTMP_OK;
    } else if (crtmp_str_eq(what->name, "frame")) {
        static const uint8_t silence[] = {0xaf, 1, 0x21, 0};
        frame.kind = CRTMP_FRAME_AUDIO;
        frame.dts_ms = 40;
        frame.body = crtmp_str_of(silence, sizeof silence);
        status = host->source_frame(host, self->source, &frame);
    } else if (crtmp_str_eq(what->name, "end")) {
        status = host->source_close(host, self->source);
    } else if (crtmp_str_eq(what->name, "late")) {
        status = crtmp_reject(host, self->put_off, "too late");
    } else if (crtmp_str_eq(what->name, "values")) {
        return crtmp_answer(host, what->request, CRTMP_ANSWER_RESULT_VALUES, "[null,1,2]", NULL);
    } else if (crtmp_str_eq(what->name, "error")) {
        return crtmp_answer(host, what->request, CRTMP_ANSWER_ERROR, "{\"code\":\"Mine\"}", NULL);
    } else {
        return crtmp_answer(host, what->request, CRTMP_ANSWER_IGNORE, NULL, NULL);
    }
    return crtmp_result(host, what->request, status == CRTMP_OK ? "\"done\"" : "\"not done\"");
}

static int32_t on_metadata(void *instance, const crtmp_ConnTable *conn, const crtmp_MetadataNotice *what) {
    (void)conn;
    say(instance, "on_metadata %.*s %.*s", CRTMP_PRINT(what->name), CRTMP_PRINT(what->values));
    return CRTMP_OK;
}

static int32_t on_unpublish(void *instance, const crtmp_ConnTable *conn, const crtmp_StreamNotice *what) {
    (void)conn;
    say(instance, "on_unpublish %.*s %u", CRTMP_PRINT(what->name), what->why);
    return CRTMP_OK;
}

static int32_t on_unplay(void *instance, const crtmp_ConnTable *conn, const crtmp_StreamNotice *what) {
    (void)conn;
    say(instance, "on_unplay %.*s %u", CRTMP_PRINT(what->name), what->why);
    return CRTMP_OK;
}

static int32_t on_close(void *instance, const crtmp_ConnTable *conn, const crtmp_CloseNotice *what) {
    say(instance, "on_close %.*s %d", CRTMP_PRINT(what->reason), *conn->user != NULL);
    free(*conn->user);
    *conn->user = NULL;
    return CRTMP_OK;
}

static int32_t on_cancel(void *instance, const crtmp_ConnTable *conn, const crtmp_CancelNotice *what) {
    struct everything *self = instance;
    (void)conn;
    say(self, "on_cancel %d", what->request == self->put_off);
    return CRTMP_OK;
}

static int32_t on_pong(void *instance, const crtmp_ConnTable *conn, const crtmp_PongNotice *what) {
    (void)conn;
    say(instance, "on_pong %u %u", (unsigned)what->rtt_ms, (unsigned)what->received);
    return CRTMP_OK;
}

static int32_t on_frame(void *instance, const crtmp_ConnTable *conn, const crtmp_FrameNotice *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    const crtmp_FrameTable *frame = what->frame;
    host->frame_retain(host, frame->owner);
    say(instance, "on_frame %.*s %u %u %d %02x, %u left out", CRTMP_PRINT(what->name), frame->kind, frame->role,
        (int)frame->dts_ms, crtmp_bytes(frame->body)[0], (unsigned)what->left_out);
    host->frame_release(host, frame->owner);
    host->tap(host, conn->id, 0, 0);
    return CRTMP_OK;
}

static int32_t on_stream(void *instance, const crtmp_StreamStateNotice *what) {
    say(instance, "on_stream %.*s %u", CRTMP_PRINT(what->name), what->live);
    return CRTMP_OK;
}

static int32_t on_source(void *instance, const crtmp_SourceNotice *what) {
    say(instance, "on_source %u %.*s", what->state, CRTMP_PRINT(what->text));
    return CRTMP_OK;
}

static int32_t on_timer(void *instance, const crtmp_TimerNotice *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    say(instance, "on_timer %u at %d", (unsigned)what->timer, host->now_ms(host) < UINT64_MAX);
    return CRTMP_OK;
}

static int32_t on_command(void *instance, const crtmp_CommandRequest *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    say(instance, "on_command %.*s %.*s", CRTMP_PRINT(what->name), CRTMP_PRINT(what->params));
    return crtmp_result(host, what->request, "{\"asked\":1}");
}

static int32_t on_result(void *instance, const crtmp_ResultNotice *what) {
    say(instance, "on_result %u %u %u %.*s %.*s", (unsigned)what->ticket, what->status, (unsigned)what->conn,
        CRTMP_PRINT(what->value), CRTMP_PRINT(what->body));
    return CRTMP_OK;
}

static const crtmp_AppTable everything = {
    .size = sizeof(crtmp_AppTable),
    .name = CRTMP_STR("everything"),
    .flags = 0,
    .validate = validate,
    .create = create,
    .destroy = destroy,
    .on_accept = on_accept,
    .on_connect = on_connect,
    .on_publish = on_publish,
    .on_play = on_play,
    .on_message = on_message,
    .on_metadata = on_metadata,
    .on_unpublish = on_unpublish,
    .on_unplay = on_unplay,
    .on_close = on_close,
    .on_cancel = on_cancel,
    .on_pong = on_pong,
    .on_frame = on_frame,
    .on_stream = on_stream,
    .on_source = on_source,
    .on_timer = on_timer,
    .on_command = on_command,
    .on_result = on_result,
};

/* ---- a layer between others: turns every bit around ---- */

static int32_t layer_create(crtmp_Str keys, const crtmp_OutTable *out, void **instance) {
    char text[128];
    if (strstr(crtmp_str_copy(keys, text, sizeof text), "wrong") != NULL) {
        out->fail(out, crtmp_str("a wrong key"));
        return CRTMP_FAILED;
    }
    *instance = calloc(1, 16);
    return *instance == NULL ? CRTMP_FAILED : CRTMP_OK;
}

static int32_t layer_destroy(void *instance) {
    free(instance);
    return CRTMP_OK;
}

static size_t turned(crtmp_Str data, uint8_t *into, size_t size) {
    size_t index;
    for (index = 0; index < data.len && index < size; index++) {
        into[index] = (uint8_t)(crtmp_bytes(data)[index] ^ 0xff);
    }
    return index;
}

static int32_t turn_open(void *instance, const crtmp_CxTable *cx) {
    (void)instance;
    return cx->open(cx);
}

static int32_t turn_data(void *instance, const crtmp_CxTable *cx, crtmp_Str data, size_t *taken) {
    uint8_t bytes[1024];
    (void)instance;
    for (*taken = 0; *taken < data.len && cx->is_paused(cx) == 0;) {
        size_t count = turned(crtmp_str_of(data.ptr + *taken, data.len - *taken), bytes, sizeof bytes);
        int32_t status = cx->deliver(cx, crtmp_str_of(bytes, count));
        *taken += count;
        if (status != CRTMP_OK) {
            return status;
        }
    }
    return CRTMP_OK;
}

static int32_t turn_send(void *instance, const crtmp_CxTable *cx, crtmp_Str data) {
    uint8_t bytes[1024];
    size_t done = 0;
    (void)instance;
    while (done < data.len) {
        size_t count = turned(crtmp_str_of(data.ptr + done, data.len - done), bytes, sizeof bytes);
        cx->send(cx, crtmp_str_of(bytes, count));
        done += count;
    }
    return CRTMP_OK;
}

static const crtmp_LayerTable turn = {
    .size = sizeof(crtmp_LayerTable),
    .name = CRTMP_STR("turn"),
    .far = CRTMP_PORT_BYTES,
    .near = CRTMP_PORT_BYTES,
    .keys = CRTMP_STR("{\"turning\":\"text\"}"),
    .create = layer_create,
    .destroy = layer_destroy,
    .on_open = turn_open,
    .on_data = turn_data,
    .on_send = turn_send,
};

/* ---- an endpoint: one letter, one event ---- */

static int32_t line_open(void *instance, const crtmp_CxTable *cx) {
    uint8_t random[4] = {0, 0, 0, 0};
    (void)instance;
    cx->random(cx, random, sizeof random);
    cx->send(cx, crtmp_str_of(random, sizeof random));
    cx->wake_in(cx, 50);
    return CRTMP_OK;
}

static int32_t line_data(void *instance, const crtmp_CxTable *cx, crtmp_Str data, size_t *taken) {
    static const uint8_t silence[] = {0xaf, 1, 0x21, 0};
    (void)instance;
    for (*taken = 0; *taken < data.len && cx->is_paused(cx) == 0;) {
        int32_t status = CRTMP_OK;
        crtmp_FrameTable frame;
        crtmp_EventTable event;
        memset(&event, 0, sizeof event);
        event.size = sizeof event;
        event.stream_id = 1;
        memset(&frame, 0, sizeof frame);
        frame.size = sizeof frame;
        switch (data.ptr[(*taken)++]) {
        case 'c':
            event.kind = CRTMP_EVENT_CONNECT;
            event.request = 1;
            event.name = crtmp_str("everything");
            event.value = crtmp_str("{\"agent\":\"line\"}");
            cx->pause(cx);
            status = cx->emit(cx, &event);
            break;
        case 'm':
            event.kind = CRTMP_EVENT_MESSAGE;
            event.request = 3;
            event.wants_reply = 1;
            event.name = crtmp_str("hello");
            event.value = crtmp_str("[1]");
            status = cx->emit(cx, &event);
            break;
        case 'p':
            event.kind = CRTMP_EVENT_PUBLISH;
            event.request = 2;
            event.name = crtmp_str("line");
            status = cx->emit(cx, &event);
            break;
        case 'f':
            event.kind = CRTMP_EVENT_FRAME;
            frame.kind = CRTMP_FRAME_AUDIO;
            frame.dts_ms = (int64_t)cx->now_ms;
            frame.body = crtmp_str_of(silence, sizeof silence);
            event.frame = &frame;
            status = cx->emit(cx, &event);
            break;
        case 'u':
            event.kind = CRTMP_EVENT_UNPUBLISH;
            status = cx->emit(cx, &event);
            break;
        case 'x':
            cx->close(cx, crtmp_str("as ordered"));
            break;
        default:
            cx->fail(cx, crtmp_str("no such letter"));
            return CRTMP_FAILED;
        }
        if (status != CRTMP_OK) {
            return status;
        }
    }
    return CRTMP_OK;
}

static int32_t line_order(void *instance, const crtmp_CxTable *cx, const crtmp_OrderTable *order) {
    char text[128];
    (void)instance;
    if (order->kind == CRTMP_ORDER_ANSWER_CONNECT) {
        cx->resume(cx);
    }
    snprintf(text, sizeof text, "%u %u %u %.*s;", order->kind, order->request, order->accepted,
             CRTMP_PRINT(order->text));
    cx->send(cx, crtmp_str(text));
    return CRTMP_OK;
}

static int32_t line_timeout(void *instance, const crtmp_CxTable *cx) {
    (void)instance;
    cx->send(cx, crtmp_str("late;"));
    return CRTMP_OK;
}

static const crtmp_LayerTable line = {
    .size = sizeof(crtmp_LayerTable),
    .name = CRTMP_STR("line"),
    .far = CRTMP_PORT_BYTES,
    .near = CRTMP_PORT_SERVER,
    .create = layer_create,
    .destroy = layer_destroy,
    .on_open = line_open,
    .on_data = line_data,
    .on_order = line_order,
    .on_timeout = line_timeout,
};

/* ---- an endpoint behind HTTP: says what it was asked for ---- */

static int32_t page_data(void *instance, const crtmp_CxTable *cx, crtmp_Str data, size_t *taken) {
    (void)instance;
    (void)cx;
    *taken = data.len;
    return CRTMP_OK;
}

static int32_t page_head(void *instance, const crtmp_CxTable *cx, const crtmp_HeadTable *head) {
    crtmp_Str headers[2];
    crtmp_HeadTable answer;
    (void)instance;
    headers[0] = crtmp_str("content-type");
    headers[1] = crtmp_str("text/plain");
    memset(&answer, 0, sizeof answer);
    answer.size = sizeof answer;
    answer.status = 200;
    answer.length = head->target.len;
    answer.headers = headers;
    answer.header_count = 1;
    int32_t status = cx->begin(cx, &answer);
    if (status == CRTMP_OK) {
        cx->send(cx, head->target);
    }
    return status;
}

static int32_t page_end(void *instance, const crtmp_CxTable *cx) {
    (void)instance;
    cx->end(cx);
    return CRTMP_OK;
}

static const crtmp_LayerTable page = {
    .size = sizeof(crtmp_LayerTable),
    .name = CRTMP_STR("page"),
    .far = CRTMP_PORT_HTTP,
    .near = CRTMP_PORT_SERVER,
    .create = layer_create,
    .destroy = layer_destroy,
    .on_data = page_data,
    .on_head = page_head,
    .on_end = page_end,
};

/* ---- a filter: no data, other audio ---- */

static int32_t filter_create(crtmp_Str settings, const crtmp_OutTable *out, void **instance) {
    return layer_create(settings, out, instance);
}

static int32_t filter_frame(void *instance, const crtmp_FrameTable *frame, const crtmp_OutTable *out) {
    static const uint8_t silence[] = {0xaf, 1, 0x21, 0};
    (void)instance;
    switch (frame->kind) {
    case CRTMP_FRAME_DATA:
        return CRTMP_FILTER_DROP;
    case CRTMP_FRAME_AUDIO:
        out->replace(out, crtmp_str_of(silence, sizeof silence));
        return CRTMP_FILTER_REPLACE;
    default:
        return CRTMP_FILTER_KEEP;
    }
}

static const crtmp_FilterTable hush = {
    .size = sizeof(crtmp_FilterTable),
    .name = CRTMP_STR("hush"),
    .create = filter_create,
    .destroy = layer_destroy,
    .on_frame = filter_frame,
};

/* ---- what the library brings ---- */

static const crtmp_ChainTable turned_line = {
    .size = sizeof(crtmp_ChainTable),
    .name = CRTMP_STR("inboundTurnedLine"),
    .layers = CRTMP_STR("turn line"),
};

static const crtmp_AppTable *const apps[] = {&everything};
static const crtmp_LayerTable *const layers[] = {&turn, &line, &page};
static const crtmp_ChainTable *const chains[] = {&turned_line};
static const crtmp_FilterTable *const filters[] = {&hush};

CRTMP_PLUGIN = {
    .magic = CRTMP_MAGIC,
    .size = sizeof(crtmp_PluginTable),
    .abi_major = CRTMP_ABI_MAJOR,
    .abi_minor = CRTMP_ABI_MINOR,
    .name = CRTMP_STR("frozen"),
    .version = CRTMP_STR("1.0"),
    .apps = apps,
    .app_count = 1,
    .layers = layers,
    .layer_count = 3,
    .chains = chains,
    .chain_count = 1,
    .filters = filters,
    .filter_count = 1,
};
