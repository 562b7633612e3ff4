/* The plugin ABI of crtmpserver 1.0 for C and C++. docs/plugins.md says how to use it.
 *
 * It is for systems with pointers of 64 bits.
 *
 * A later server may send numbers that are not listed here. A plugin passes over an unknown order or state with
 * CRTMP_OK; it takes an unknown role for CRTMP_ROLE_SIDE, an unknown kind of frame for CRTMP_FRAME_DATA, an unknown
 * reason for CRTMP_ENDED_BY_SERVER, and an unknown result for an error.
 *
 * Made from core/plugin/src/abi by `cargo xtask header`. Not to be edited here. */

#ifndef CRTMP_PLUGIN_H
#define CRTMP_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * First field of the descriptor: the letters `CRTMPLUG`.
 */
#define CRTMP_MAGIC 4851032439667840327

/**
 * Changes when an existing field or hook changes its meaning. Host and plugin must agree exactly.
 */
#define CRTMP_ABI_MAJOR 1

/**
 * Grows when a table grows. A plugin may be older than its host, never newer.
 */
#define CRTMP_ABI_MINOR 1

/**
 * Done; of a call of the host: it was taken. A hook that answers a request has called `crtmp_HostTable.respond` before it
 * returns this.
 */
#define CRTMP_OK 0

/**
 * A hook's way to say that the answer comes later, by `crtmp_HostTable.respond` from any thread.
 */
#define CRTMP_LATER 1

/**
 * The call failed; the reason was given to `crtmp_HostTable.fail`.
 */
#define CRTMP_FAILED (-1)

/**
 * The call panicked (was caught in the shim); the text was given to `crtmp_HostTable.fail`.
 */
#define CRTMP_PANICKED (-2)

/**
 * The request, the source or whatever else it was about is no more. A hook may return it, as all that
 * `crtmp_HostTable.respond` returned: that somebody was faster, or nobody waits any more, is no fault.
 */
#define CRTMP_GONE (-3)

/**
 * An argument made no sense.
 */
#define CRTMP_INVALID (-4)

/**
 * There is no room; try again later.
 */
#define CRTMP_FULL (-5)

/**
 * The application takes no connection of its own: the server hands each to the application that its address
 * names.
 */
#define CRTMP_APP_SELECTS 1

/**
 * Publish live, keep nothing.
 */
#define CRTMP_PUBLISH_LIVE 0

/**
 * Publish and record into a new file.
 */
#define CRTMP_PUBLISH_RECORD 1

/**
 * Publish and append to the recording.
 */
#define CRTMP_PUBLISH_APPEND 2

/**
 * Only a live stream will do.
 */
#define CRTMP_PLAY_LIVE (-1)

/**
 * A live stream if there is one, else a recording.
 */
#define CRTMP_PLAY_ANY (-2)

/**
 * The far end wanted it, or left.
 */
#define CRTMP_ENDED_BY_PEER 0

/**
 * The server wanted it: a command, a takeover, an application.
 */
#define CRTMP_ENDED_BY_SERVER 1

/**
 * A play ended because its stream did.
 */
#define CRTMP_ENDED_BY_SOURCE 2

/**
 * Sound.
 */
#define CRTMP_FRAME_AUDIO 8

/**
 * Pictures.
 */
#define CRTMP_FRAME_VIDEO 9

/**
 * Descriptions and other data.
 */
#define CRTMP_FRAME_DATA 18

/**
 * Codec configuration (sequence header).
 */
#define CRTMP_ROLE_CONFIG 0

/**
 * Information that a joiner needs beside the configuration.
 */
#define CRTMP_ROLE_INFO 1

/**
 * Decodes without any earlier frame: a key frame, or any audio frame.
 */
#define CRTMP_ROLE_KEY 2

/**
 * Needs earlier frames.
 */
#define CRTMP_ROLE_DELTA 3

/**
 * Needs earlier frames, and no other frame needs it.
 */
#define CRTMP_ROLE_DISPOSABLE 4

/**
 * Everything else that is passed on in order.
 */
#define CRTMP_ROLE_SIDE 5

/**
 * The stream is published.
 */
#define CRTMP_SOURCE_LIVE 0

/**
 * The stream was not published, or ends: nothing more comes of this source.
 */
#define CRTMP_SOURCE_ENDED 1

/**
 * It has been done, or the far end answered `_result`.
 */
#define CRTMP_RESULT_OK 0

/**
 * It failed, or the far end answered `_error`.
 */
#define CRTMP_RESULT_ERROR 1

/**
 * No answer came in time.
 */
#define CRTMP_RESULT_TIMEOUT 2

/**
 * The connection or the server has ended.
 */
#define CRTMP_RESULT_GONE 3

/**
 * May run commands that only look.
 */
#define CRTMP_RIGHTS_READ 0

/**
 * May run commands that change something.
 */
#define CRTMP_RIGHTS_CHANGE 1

/**
 * May run every command.
 */
#define CRTMP_RIGHTS_ALL 2

/**
 * Yes.
 */
#define CRTMP_ANSWER_ACCEPT 1

/**
 * Yes, under the name `first` (publish, play).
 */
#define CRTMP_ANSWER_ACCEPT_AS 2

/**
 * The application `first` shall decide (connect).
 */
#define CRTMP_ANSWER_HAND_TO 3

/**
 * No: code `first` (empty: the usual one), text `second`. To a message or command it is an error with that text, and
 * the code is not passed on.
 */
#define CRTMP_ANSWER_REJECT 4

/**
 * Go to the address `first`.
 */
#define CRTMP_ANSWER_REDIRECT 5

/**
 * A command's result: JSON text `first`.
 */
#define CRTMP_ANSWER_RESULT 6

/**
 * A command's error: JSON text `first`.
 */
#define CRTMP_ANSWER_ERROR 7

/**
 * This application does not know the command.
 */
#define CRTMP_ANSWER_IGNORE 8

/**
 * A command's result in several values: JSON text `first` of a list, for RTMP the command object first.
 */
#define CRTMP_ANSWER_RESULT_VALUES 9

/**
 * A command's error in several values, likewise.
 */
#define CRTMP_ANSWER_ERROR_VALUES 10

/**
 * A stream of bytes.
 */
#define CRTMP_PORT_BYTES 0

/**
 * HTTP messages: heads, bodies, ends.
 */
#define CRTMP_PORT_HTTP 1

/**
 * The server: the layer is an endpoint.
 */
#define CRTMP_PORT_SERVER 2

/**
 * The far end asks to connect: `request`, `name` is its `app`, `value` an object (`tcUrl`, `agent`, …). The layer
 * should pause the chain until the answer comes.
 */
#define CRTMP_EVENT_CONNECT 1

/**
 * A command: `request`, `stream_id`, `wants_reply`, `name`, `value` a list.
 */
#define CRTMP_EVENT_MESSAGE 2

/**
 * The far end asks to publish: `request`, `stream_id`, `name`.
 */
#define CRTMP_EVENT_PUBLISH 3

/**
 * A frame of an accepted publication: `stream_id`, `frame`.
 */
#define CRTMP_EVENT_FRAME 4

/**
 * The publication has ended: `stream_id`.
 */
#define CRTMP_EVENT_UNPUBLISH 5

/**
 * No.
 */
#define CRTMP_ACCEPTED_NO 0

/**
 * Yes.
 */
#define CRTMP_ACCEPTED_YES 1

/**
 * No: the far end shall go to the address `code`.
 */
#define CRTMP_ACCEPTED_ELSEWHERE 2

/**
 * The answer to `CRTMP_EVENT_CONNECT`.
 */
#define CRTMP_ORDER_ANSWER_CONNECT 1

/**
 * The answer to `CRTMP_EVENT_PUBLISH`.
 */
#define CRTMP_ORDER_ANSWER_PUBLISH 2

/**
 * The answer to `CRTMP_EVENT_MESSAGE`.
 */
#define CRTMP_ORDER_ANSWER_MESSAGE 3

/**
 * The server ends the publication of `stream_id`.
 */
#define CRTMP_ORDER_STOP_PUBLISH 4

/**
 * The server closes the connection.
 */
#define CRTMP_ORDER_CLOSE 5

/**
 * The frame goes on.
 */
#define CRTMP_FILTER_KEEP 0

/**
 * The frame is left out.
 */
#define CRTMP_FILTER_DROP 1

/**
 * The frame goes on with another body.
 */
#define CRTMP_FILTER_REPLACE 2

/**
 * Text or bytes of somebody else, valid until the call returns. Text unless its place says something else.
 */
typedef struct crtmp_Str {
    /**
     * First byte; may be null when `len` is 0. Nothing ends the text but its length.
     */
    const char *ptr;
    /**
     * Bytes. More than `PTRDIFF_MAX` are none.
     */
    size_t len;
} crtmp_Str;

/**
 * An answer. `kind` says what `first` and `second` are.
 */
typedef struct crtmp_AnswerTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * One of the `CRTMP_ANSWER_…` constants.
     */
    uint32_t kind;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * A name, a code, an address, or JSON text.
     */
    struct crtmp_Str first;
    /**
     * A text for the far end.
     */
    struct crtmp_Str second;
} crtmp_AnswerTable;

/**
 * One coded picture, audio frame or piece of data.
 */
typedef struct crtmp_FrameTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * One of the `CRTMP_FRAME_…` constants.
     */
    uint32_t kind;
    /**
     * One of the `CRTMP_ROLE_…` constants. Not read where a plugin gives a frame: the body says it.
     */
    uint32_t role;
    /**
     * The codec as a FourCC, most significant byte first (`avc1`, `mp4a`, …); for codecs that have none `FLV` and
     * the number that FLV gives it; 0: none. Not read where a plugin gives a frame.
     */
    uint32_t codec;
    /**
     * The track within its kind; 0 unless the stream is multitrack. Not read where a plugin gives a frame.
     */
    uint32_t track;
    /**
     * Decode time in ms.
     */
    int64_t dts_ms;
    /**
     * Presentation minus decode time in ms. Not read where a plugin gives a frame.
     */
    int32_t cts_ms;
    /**
     * Where in `body` the content begins: length-prefixed NAL units, raw audio, or the codec configuration. Not read
     * where a plugin gives a frame.
     */
    uint32_t data_at;
    /**
     * The body of an FLV tag: a header of some bytes, then the content.
     */
    struct crtmp_Str body;
    /**
     * Names the memory for `crtmp_HostTable.frame_retain`. Null where a plugin gives a frame, and in filters: such a frame
     * cannot be retained, but copied.
     */
    const void *owner;
} crtmp_FrameTable;

/**
 * What the server does for a plugin. The pointer is the identity: every function takes it first. All of them may
 * be called from any thread and never block.
 *
 * Those that return a status answer `CRTMP_OK` where the call was taken. That is not that it was done: what is
 * for a connection goes to its worker, and means nothing where the connection has left meanwhile.
 * `CRTMP_GONE`: the request, source, timer or command is no more, or the application has ended.
 * `CRTMP_INVALID`: an argument makes no sense. `CRTMP_FULL`, of `timer_set`, `connect`, `http` and
 * `source_frame`: there is no room now. `CRTMP_FAILED`: the server has made a mistake.
 *
 * A *ticket* is a number that the application chooses; what becomes of a call that was taken comes to `on_result` with
 * it, exactly once. A call that returned anything but `CRTMP_OK` has no result, nor have those that are open
 * when `destroy` is called. The ticket 0 wants no result.
 */
typedef struct crtmp_HostTable {
    /**
     * Size of this table in bytes. A plugin that was let in finds at least the fields that it was built with.
     */
    size_t size;
    /**
     * Writes a log line; levels from 0 (fatal) to 6 (finest).
     */
    void (*log)(const struct crtmp_HostTable *host, uint32_t level, struct crtmp_Str text);
    /**
     * Milliseconds of a clock that never goes back; 0 once the application has ended.
     */
    uint64_t (*now_ms)(const struct crtmp_HostTable *host);
    /**
     * Says why the current `validate`, `create` or hook is about to return `CRTMP_FAILED` or
     * `CRTMP_PANICKED`.
     */
    void (*fail)(const struct crtmp_HostTable *host, struct crtmp_Str reason);
    /**
     * Answers a request: in its hook, or later from any thread. The second answer gets `CRTMP_GONE`. One that
     * does not fit the request, or cannot be read, gets `CRTMP_INVALID`, and the request still waits for its
     * answer. A hook may return what this returned.
     */
    int32_t (*respond)(const struct crtmp_HostTable *host, uint64_t request, const struct crtmp_AnswerTable *answer);
    /**
     * Asks the server to close a connection; code and text tell its peer why.
     */
    int32_t (*close_connection)(const struct crtmp_HostTable *host,
                                uint64_t conn,
                                struct crtmp_Str code,
                                struct crtmp_Str text);
    /**
     * Calls a command of the far end. `args` is JSON text of a list; the command object comes first. The far end's
     * answer comes with the ticket; a connection that has left, or is another application's, is the result
     * `CRTMP_RESULT_GONE`.
     */
    int32_t (*call)(const struct crtmp_HostTable *host,
                    uint64_t conn,
                    struct crtmp_Str name,
                    struct crtmp_Str args,
                    uint64_t ticket);
    /**
     * Ends a publication of a connection. `stream_id` 0 means all of them.
     */
    int32_t (*unpublish)(const struct crtmp_HostTable *host,
                         uint64_t conn,
                         uint32_t stream_id,
                         struct crtmp_Str code,
                         struct crtmp_Str text);
    /**
     * Ends a playback of a connection. `stream_id` 0 means all of them.
     */
    int32_t (*unplay)(const struct crtmp_HostTable *host,
                      uint64_t conn,
                      uint32_t stream_id,
                      struct crtmp_Str code,
                      struct crtmp_Str text);
    /**
     * Has the frames that a connection of this application publishes brought to `on_frame` (`on` 1), or no more (0).
     * `stream_id` 0 means all that it publishes, now and later; another one that message stream, until its
     * publication ends or is refused.
     */
    int32_t (*tap)(const struct crtmp_HostTable *host, uint64_t conn, uint32_t stream_id, uint32_t on);
    /**
     * Gives the newest codec configuration of what a connection publishes on a message stream; `stream_id` 0 means the
     * newest publication that has one. `kind` is `CRTMP_FRAME_AUDIO` or
     * `CRTMP_FRAME_VIDEO`. The caller has set `size` in `frame`, and releases the frame, which is
     * retained for him. `CRTMP_GONE` where there is none (yet). For an application that has no hook of connections
     * or streams, they are kept of those connections alone that it had tapped before they came.
     */
    int32_t (*sequence_header)(const struct crtmp_HostTable *host,
                               uint64_t conn,
                               uint32_t stream_id,
                               uint32_t kind,
                               struct crtmp_FrameTable *frame);
    /**
     * Keeps the memory of a frame after the hook that lent it.
     */
    void (*frame_retain)(const struct crtmp_HostTable *host, const void *owner);
    /**
     * Gives back what `frame_retain` or `sequence_header` kept.
     */
    void (*frame_release)(const struct crtmp_HostTable *host, const void *owner);
    /**
     * Sets a timer of the application: `on_timer` in `delay_ms`, and from then on every `period_ms` unless that is
     * 0. A timer of the same number is replaced.
     */
    int32_t (*timer_set)(const struct crtmp_HostTable *host, uint64_t timer, uint64_t delay_ms, uint64_t period_ms);
    /**
     * Takes back a timer.
     */
    int32_t (*timer_cancel)(const struct crtmp_HostTable *host, uint64_t timer);
    /**
     * Runs a command of the server. `params` is JSON text of an object, or empty; `rights` one of the `CRTMP_RIGHTS_…`
     * constants. The reply comes with the ticket.
     */
    int32_t (*command)(const struct crtmp_HostTable *host,
                       struct crtmp_Str name,
                       struct crtmp_Str params,
                       uint32_t rights,
                       uint64_t ticket);
    /**
     * Adds a command to the server's: JSON text of an object with `name`, `description`, `readOnly` and
     * `parameters`, as `help` shows them. It ends with the instance.
     */
    int32_t (*command_add)(const struct crtmp_HostTable *host, struct crtmp_Str command);
    /**
     * Takes back a command of `command_add`. Calls of it that are open are still answered. `CRTMP_GONE`: the
     * instance has none of this name.
     */
    int32_t (*command_remove)(const struct crtmp_HostTable *host, struct crtmp_Str name);
    /**
     * Begins to publish a stream of this application; in `create`, as soon as that has returned. 0: it has too many,
     * or has ended. `on_source` says what becomes of it.
     */
    uint64_t (*source_open)(const struct crtmp_HostTable *host, struct crtmp_Str name);
    /**
     * Gives a frame of a source; the body is copied. `CRTMP_FULL`: the frame was left out, and all up to
     * the next key frame will be, because the server is behind.
     */
    int32_t (*source_frame)(const struct crtmp_HostTable *host, uint64_t source, const struct crtmp_FrameTable *frame);
    /**
     * Ends a publication.
     */
    int32_t (*source_close)(const struct crtmp_HostTable *host, uint64_t source);
    /**
     * Connects to `address` (host and port) and puts `chain` on the connection; `keys` is JSON text of an object with
     * the keys of the chain's layers, or empty. Where `chain` is empty, `address` says it by a scheme, and may leave the
     * port out: `rtmps://host`. The connection's number comes with the ticket, and its hooks to this application.
     */
    int32_t (*connect)(const struct crtmp_HostTable *host,
                       struct crtmp_Str address,
                       struct crtmp_Str chain,
                       struct crtmp_Str keys,
                       uint64_t ticket);
    /**
     * Sends an HTTP request: JSON text of an object with `url`, and as wanted `method`, `headers`, `timeoutMs`, and
     * `publicOnly` (true: not to private addresses, for a `url` that somebody else chose). The answer comes with the
     * ticket.
     */
    int32_t (*http)(const struct crtmp_HostTable *host, struct crtmp_Str request, struct crtmp_Str body, uint64_t ticket);
    /**
     * The folder at which relative paths start: the one in which the server was started. Good for as
     * long as the host pointer.
     */
    struct crtmp_Str (*folder)(const struct crtmp_HostTable *host);
    /**
     * The name of the application as its block says it: several blocks may use one library. Good for as long as the
     * host pointer.
     */
    struct crtmp_Str (*name)(const struct crtmp_HostTable *host);
    /**
     * Pulls a stream of the far end of a connection by RTMP that `connect` has made, and that has been accepted there (`call` of "connect"). JSON text of an object with `name` (there, with query string),
     * and as wanted `localName` (here), `startMs` and `durationMs` as in `crtmp_PlayRequest`. The result
     * comes when players have it here, or will not; when a pull has ended that was accepted, `on_unpublish`.
     */
    int32_t (*pull)(const struct crtmp_HostTable *host, uint64_t conn, struct crtmp_Str what, uint64_t ticket);
    /**
     * Pushes a stream to the far end, likewise: `name` (there), and as wanted `localName` (here) and `type`: `live`,
     * `record` or `append`. The result comes when the far end has accepted it, or has not; when a push has ended that
     * was accepted, `on_unplay`.
     */
    int32_t (*push)(const struct crtmp_HostTable *host, uint64_t conn, struct crtmp_Str what, uint64_t ticket);
} crtmp_HostTable;

/**
 * A connection, as its connect request described it. What a protocol does not have is empty.
 */
typedef struct crtmp_ConnTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The connection's number.
     */
    uint64_t id;
    /**
     * A place for a pointer of the application's own, null at first, good until `on_close` has returned. Only to be
     * touched within hooks of this connection.
     */
    void **user;
    /**
     * The application of the acceptor that took the connection.
     */
    struct crtmp_Str application;
    /**
     * Name of the chain.
     */
    struct crtmp_Str chain;
    /**
     * Address of the far end.
     */
    struct crtmp_Str peer;
    /**
     * Our address.
     */
    struct crtmp_Str local;
    /**
     * The raw `app` of the connect request.
     */
    struct crtmp_Str app;
    /**
     * What `app` says behind the application's name.
     */
    struct crtmp_Str instance;
    /**
     * What `app` says behind a question mark.
     */
    struct crtmp_Str query;
    /**
     * `tcUrl`.
     */
    struct crtmp_Str tc_url;
    /**
     * `swfUrl`.
     */
    struct crtmp_Str swf_url;
    /**
     * `pageUrl`.
     */
    struct crtmp_Str page_url;
    /**
     * `flashVer`, or what else the far end calls itself.
     */
    struct crtmp_Str agent;
    /**
     * All other members of the connect request: JSON text of an object.
     */
    struct crtmp_Str extra;
} crtmp_ConnTable;

/**
 * Argument of `on_accept` and `on_connect`. The connection itself says the rest.
 */
typedef struct crtmp_ConnectRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer.
     */
    uint64_t request;
} crtmp_ConnectRequest;

/**
 * Argument of `on_publish`.
 */
typedef struct crtmp_PublishRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer.
     */
    uint64_t request;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * One of the `CRTMP_PUBLISH_…` constants.
     */
    uint32_t kind;
    /**
     * Stream name without its query.
     */
    struct crtmp_Str name;
    /**
     * What stood behind the question mark.
     */
    struct crtmp_Str query;
} crtmp_PublishRequest;

/**
 * Argument of `on_play`.
 */
typedef struct crtmp_PlayRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer.
     */
    uint64_t request;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * Not 0: end what plays on this message stream; 0: queue behind it. In version 1.0 always 1.
     */
    uint32_t reset;
    /**
     * Stream name without its query.
     */
    struct crtmp_Str name;
    /**
     * What stood behind the question mark.
     */
    struct crtmp_Str query;
    /**
     * Milliseconds into a recording, or `CRTMP_PLAY_LIVE`, or `CRTMP_PLAY_ANY`.
     */
    int64_t start_ms;
    /**
     * Milliseconds to play, or -1 for all.
     */
    int64_t duration_ms;
} crtmp_PlayRequest;

/**
 * Argument of `on_message`.
 */
typedef struct crtmp_MessageRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer.
     */
    uint64_t request;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * 0: the far end waits for no answer, and the hook may give none.
     */
    uint32_t wants_reply;
    /**
     * The command's name.
     */
    struct crtmp_Str name;
    /**
     * Its arguments: JSON text of a list.
     */
    struct crtmp_Str args;
} crtmp_MessageRequest;

/**
 * Argument of `on_metadata`.
 */
typedef struct crtmp_MetadataNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Name of the published stream.
     */
    struct crtmp_Str name;
    /**
     * JSON text of an object.
     */
    struct crtmp_Str values;
} crtmp_MetadataNotice;

/**
 * Argument of `on_unpublish` and `on_unplay`.
 */
typedef struct crtmp_StreamNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * One of the `CRTMP_ENDED_…` constants.
     */
    uint32_t why;
    /**
     * Name of the stream.
     */
    struct crtmp_Str name;
} crtmp_StreamNotice;

/**
 * Argument of `on_close`.
 */
typedef struct crtmp_CloseNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * Why, in words.
     */
    struct crtmp_Str reason;
} crtmp_CloseNotice;

/**
 * Argument of `on_cancel`.
 */
typedef struct crtmp_CancelNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number whose answer nobody waits for.
     */
    uint64_t request;
} crtmp_CancelNotice;

/**
 * Argument of `on_pong`.
 */
typedef struct crtmp_PongNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * Round trip time in ms.
     */
    uint64_t rtt_ms;
    /**
     * Bytes received on the connection so far.
     */
    uint64_t received;
} crtmp_PongNotice;

/**
 * Argument of `on_frame`.
 */
typedef struct crtmp_FrameNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The connection's message stream.
     */
    uint32_t stream_id;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Frames that were left out before this one, because the application was slow.
     */
    uint64_t left_out;
    /**
     * Name of the stream.
     */
    struct crtmp_Str name;
    /**
     * The frame.
     */
    const struct crtmp_FrameTable *frame;
} crtmp_FrameNotice;

/**
 * Argument of `on_stream`.
 */
typedef struct crtmp_StreamStateNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The connection that publishes it, or the source.
     */
    uint64_t conn;
    /**
     * Not 0: the stream has come; 0: it has gone.
     */
    uint32_t live;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Name of the stream.
     */
    struct crtmp_Str name;
} crtmp_StreamStateNotice;

/**
 * Argument of `on_source`.
 */
typedef struct crtmp_SourceNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The source.
     */
    uint64_t source;
    /**
     * One of the `CRTMP_SOURCE_…` constants.
     */
    uint32_t state;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Why, in words; empty for `CRTMP_SOURCE_LIVE`.
     */
    struct crtmp_Str text;
} crtmp_SourceNotice;

/**
 * Argument of `on_timer`.
 */
typedef struct crtmp_TimerNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number that the application gave the timer.
     */
    uint64_t timer;
} crtmp_TimerNotice;

/**
 * Argument of `on_command`.
 */
typedef struct crtmp_CommandRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer.
     */
    uint64_t request;
    /**
     * The command's name, as it was added.
     */
    struct crtmp_Str name;
    /**
     * Its parameters, checked and with all defaults: JSON text of an object.
     */
    struct crtmp_Str params;
} crtmp_CommandRequest;

/**
 * Argument of `on_result`.
 */
typedef struct crtmp_ResultNotice {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The ticket that the application gave.
     */
    uint64_t ticket;
    /**
     * One of the `CRTMP_RESULT_…` constants.
     */
    uint32_t status;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * For `crtmp_HostTable.connect` the connection's number; else 0.
     */
    uint64_t conn;
    /**
     * JSON text: of `crtmp_HostTable.call` a list of arguments, of `crtmp_HostTable.command` the whole reply, of
     * `crtmp_HostTable.http` an object with `status` and `headers`, of `crtmp_HostTable.pull` and `crtmp_HostTable.push` an object
     * with `streamId` (the connection's message stream) and `status` (what the far end said, mostly an object with
     * `code` and `description`; or null). Of `CRTMP_RESULT_ERROR` a string with the reason, but a
     * list where a far end answered `_error`, and such an object where it refused a pull or push; of `CRTMP_RESULT_TIMEOUT` and `CRTMP_RESULT_GONE` `null`.
     */
    struct crtmp_Str value;
    /**
     * The body of the answer to `crtmp_HostTable.http`.
     */
    struct crtmp_Str body;
} crtmp_ResultNotice;

/**
 * Argument of `on_shared_object`. Since version 1.1.
 */
typedef struct crtmp_SharedObjectRequest {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * The number to answer: yes or no to all of it. What the far end releases it does not use any more either way.
     */
    uint64_t request;
    /**
     * Not 0: an object that outlives its clients is meant.
     */
    uint32_t persistent;
    /**
     * Always 0.
     */
    uint32_t reserved;
    /**
     * Name of the object, with the instance.
     */
    struct crtmp_Str name;
    /**
     * What the far end wants, in order: JSON text of a list of objects whose `wish` is `use`, `release`, `change` (with
     * `slot` and `value`), `remove` (with `slot`) or `send` (with `values`).
     */
    struct crtmp_Str wishes;
} crtmp_SharedObjectRequest;

/**
 * An application: its name and its entry points. Any hook may be null.
 *
 * Each hook gets the instance, mostly the connection, and what happened. It returns one of the status constants.
 * `create`, all hooks and `destroy` of an instance are called on one thread; another instance has another.
 */
typedef struct crtmp_AppTable {
    /**
     * Size of this table in bytes, as its author knew it.
     */
    size_t size;
    /**
     * The name that a configuration uses.
     */
    struct crtmp_Str name;
    /**
     * What else there is to say about it: `CRTMP_APP_SELECTS`.
     */
    uint64_t flags;
    /**
     * Looks at settings (JSON text of an object) without starting anything; used by `--check`, too. The host
     * pointer is good for this call only.
     */
    int32_t (*validate)(const struct crtmp_HostTable *host, struct crtmp_Str settings);
    /**
     * Makes an instance. Required. The host pointer stays good for ever. The instance may stay null: nobody but the
     * plugin looks at it.
     */
    int32_t (*create)(const struct crtmp_HostTable *host, struct crtmp_Str settings, void **instance);
    /**
     * Ends an instance. Required. No hook follows.
     */
    int32_t (*destroy)(void *instance);
    /**
     * A connection has been accepted; nothing of it has been read, but where a port serves several chains what says which of
     * them it is (at `inboundRtmps` that lies within TLS). Only the application of the acceptor is asked.
     */
    int32_t (*on_accept)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_ConnectRequest *what);
    /**
     * The far end asks to connect.
     */
    int32_t (*on_connect)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_ConnectRequest *what);
    /**
     * The far end asks to publish a stream.
     */
    int32_t (*on_publish)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_PublishRequest *what);
    /**
     * The far end asks to play a stream.
     */
    int32_t (*on_play)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_PlayRequest *what);
    /**
     * The far end sent a command that the server does not know.
     */
    int32_t (*on_message)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_MessageRequest *what);
    /**
     * A published stream described itself.
     */
    int32_t (*on_metadata)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_MetadataNotice *what);
    /**
     * A publication that was allowed has ended.
     */
    int32_t (*on_unpublish)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_StreamNotice *what);
    /**
     * A playback that was allowed has ended.
     */
    int32_t (*on_unplay)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_StreamNotice *what);
    /**
     * The connection is gone. The last hook for it.
     */
    int32_t (*on_close)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_CloseNotice *what);
    /**
     * A request needs no answer any more: it was put off, or its hook was still running.
     */
    int32_t (*on_cancel)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_CancelNotice *what);
    /**
     * The far end has answered a ping.
     */
    int32_t (*on_pong)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_PongNotice *what);
    /**
     * A frame of a stream that `crtmp_HostTable.tap` asked for.
     */
    int32_t (*on_frame)(void *instance, const struct crtmp_ConnTable *conn, const struct crtmp_FrameNotice *what);
    /**
     * A stream of the application has come, or has gone, whoever publishes it.
     */
    int32_t (*on_stream)(void *instance, const struct crtmp_StreamStateNotice *what);
    /**
     * A publication of `crtmp_HostTable.source_open` has begun, was refused, or has ended.
     */
    int32_t (*on_source)(void *instance, const struct crtmp_SourceNotice *what);
    /**
     * A timer of `crtmp_HostTable.timer_set` is due.
     */
    int32_t (*on_timer)(void *instance, const struct crtmp_TimerNotice *what);
    /**
     * A command of `crtmp_HostTable.command_add` has been called. Answered like any request, by
     * `CRTMP_ANSWER_RESULT` or `CRTMP_ANSWER_ERROR`.
     */
    int32_t (*on_command)(void *instance, const struct crtmp_CommandRequest *what);
    /**
     * What has become of a call with a ticket: `crtmp_HostTable.call`, `crtmp_HostTable.command`,
     * `crtmp_HostTable.connect`, `crtmp_HostTable.http`, `crtmp_HostTable.pull` or `crtmp_HostTable.push`.
     */
    int32_t (*on_result)(void *instance, const struct crtmp_ResultNotice *what);
    /**
     * The far end wants something of a shared object. Since version 1.1.
     */
    int32_t (*on_shared_object)(void *instance,
                                const struct crtmp_ConnTable *conn,
                                const struct crtmp_SharedObjectRequest *what);
} crtmp_AppTable;

/**
 * Where a layer or filter that is being made, and a filter that is called, says more. Good for the call only.
 */
typedef struct crtmp_OutTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * Says why the call is about to fail.
     */
    void (*fail)(const struct crtmp_OutTable *out, struct crtmp_Str reason);
    /**
     * The body of the FLV tag that takes the place of the frame's. Only in `on_frame`.
     */
    void (*replace)(const struct crtmp_OutTable *out, struct crtmp_Str body);
} crtmp_OutTable;

/**
 * The head of an HTTP message.
 */
typedef struct crtmp_HeadTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * A response's status; 0: it is a request.
     */
    uint32_t status;
    /**
     * Not 0: the length of the body is not known beforehand.
     */
    uint32_t no_length;
    /**
     * Bytes of the body.
     */
    uint64_t length;
    /**
     * A request's method.
     */
    struct crtmp_Str method;
    /**
     * A request's path and query.
     */
    struct crtmp_Str target;
    /**
     * `header_count` pairs of name and value, names in lower case.
     */
    const struct crtmp_Str *headers;
    /**
     * How many headers there are: half the number of texts.
     */
    size_t header_count;
} crtmp_HeadTable;

/**
 * What an endpoint tells the server. `kind` says which fields count.
 */
typedef struct crtmp_EventTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * One of the `CRTMP_EVENT_…` constants.
     */
    uint32_t kind;
    /**
     * Names the request until it is answered; chosen by the layer, unique within the connection.
     */
    uint32_t request;
    /**
     * The message stream: one publication at a time, from 1.
     */
    uint32_t stream_id;
    /**
     * Not 0: an answer is wanted.
     */
    uint32_t wants_reply;
    /**
     * The `app`, the stream's name, or the command's.
     */
    struct crtmp_Str name;
    /**
     * JSON text: other members of the connect request, the arguments, or the description.
     */
    struct crtmp_Str value;
    /**
     * A frame.
     */
    const struct crtmp_FrameTable *frame;
} crtmp_EventTable;

/**
 * What a layer may do while it is called. Good for that call only, on its thread.
 *
 * Layers and filters are called on workers: one instance by one thread at a time, different instances at the same
 * time.
 *
 * What returns a status other than `CRTMP_OK` has ended the connection; the layer passes that status on.
 */
typedef struct crtmp_CxTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * Milliseconds of a clock that never goes back.
     */
    uint64_t now_ms;
    /**
     * Not 0: the chain is paused.
     */
    uint32_t (*is_paused)(const struct crtmp_CxTable *cx);
    /**
     * Sends bytes to the far side.
     */
    void (*send)(const struct crtmp_CxTable *cx, struct crtmp_Str data);
    /**
     * Begins an HTTP message to the far side; bytes that are sent are its body.
     */
    int32_t (*begin)(const struct crtmp_CxTable *cx, const struct crtmp_HeadTable *head);
    /**
     * Ends the HTTP message.
     */
    void (*end)(const struct crtmp_CxTable *cx);
    /**
     * Hands bytes to the nearer neighbour.
     */
    int32_t (*deliver)(const struct crtmp_CxTable *cx, struct crtmp_Str data);
    /**
     * Hands the head of an HTTP message to the nearer neighbour.
     */
    int32_t (*deliver_head)(const struct crtmp_CxTable *cx, const struct crtmp_HeadTable *head);
    /**
     * Tells the nearer neighbour that the body is complete.
     */
    int32_t (*deliver_end)(const struct crtmp_CxTable *cx);
    /**
     * Tells the nearer neighbour that it may speak.
     */
    int32_t (*open)(const struct crtmp_CxTable *cx);
    /**
     * Tells the server. What is no event of this version ends the connection. In version 1.0 a layer can publish, not
     * play.
     */
    int32_t (*emit)(const struct crtmp_CxTable *cx, const struct crtmp_EventTable *event);
    /**
     * Pauses the chain: no layer is handed data until it goes on.
     */
    void (*pause)(const struct crtmp_CxTable *cx);
    /**
     * Lets the chain go on.
     */
    void (*resume)(const struct crtmp_CxTable *cx);
    /**
     * Has `on_timeout` called in so many ms; a later call counts instead. Negative: never.
     */
    void (*wake_in)(const struct crtmp_CxTable *cx, int64_t delay_ms);
    /**
     * Ends the connection once everything has gone out, for this reason.
     */
    void (*close)(const struct crtmp_CxTable *cx, struct crtmp_Str reason);
    /**
     * Says why the current call is about to return `CRTMP_FAILED` or `CRTMP_PANICKED`.
     */
    void (*fail)(const struct crtmp_CxTable *cx, struct crtmp_Str reason);
    /**
     * Fills `len` bytes at `into` with random ones, fit for keys. More than `PTRDIFF_MAX` are none.
     */
    void (*random)(const struct crtmp_CxTable *cx, uint8_t *into, size_t len);
} crtmp_CxTable;

/**
 * An order of the server. `kind` says which fields count.
 */
typedef struct crtmp_OrderTable {
    /**
     * Size of this table in bytes.
     */
    size_t size;
    /**
     * One of the `CRTMP_ORDER_…` constants.
     */
    uint32_t kind;
    /**
     * The request that is answered.
     */
    uint32_t request;
    /**
     * The message stream.
     */
    uint32_t stream_id;
    /**
     * Of an answer: one of the `CRTMP_ACCEPTED_…` constants. What else it may say one day is a no.
     */
    uint32_t accepted;
    /**
     * Of a refusal and of an order a status code; for `CRTMP_ACCEPTED_ELSEWHERE` the address to go to instead.
     */
    struct crtmp_Str code;
    /**
     * Why, in words; of an accepted message JSON text of its result.
     */
    struct crtmp_Str text;
} crtmp_OrderTable;

/**
 * A layer: one protocol that can stand in a chain.
 */
typedef struct crtmp_LayerTable {
    /**
     * Size of this table in bytes, as its author knew it.
     */
    size_t size;
    /**
     * Its name; chains list it.
     */
    struct crtmp_Str name;
    /**
     * What it expects of its farther neighbour: `CRTMP_PORT_BYTES` or `CRTMP_PORT_HTTP`.
     */
    uint32_t far;
    /**
     * What it hands to its nearer neighbour: one of the `CRTMP_PORT_…` constants; `CRTMP_PORT_SERVER` for an endpoint.
     */
    uint32_t near;
    /**
     * The keys of an acceptor that it takes: JSON text of an object, from names to `"flag"`, `"text"`, `"texts"` or
     * `"whole"`. May be empty.
     */
    struct crtmp_Str keys;
    /**
     * Makes the layer of a connection; `keys` is JSON text of an object. Required. No null instance.
     */
    int32_t (*create)(struct crtmp_Str keys, const struct crtmp_OutTable *out, void **instance);
    /**
     * Ends it. Required.
     */
    int32_t (*destroy)(void *instance);
    /**
     * The carrier is connected. Without it, the nearer neighbour is told at once.
     */
    int32_t (*on_open)(void *instance, const struct crtmp_CxTable *cx);
    /**
     * Bytes from the far side. Required. `taken` is how many were taken: all of them, unless this call paused the
     * chain.
     */
    int32_t (*on_data)(void *instance, const struct crtmp_CxTable *cx, struct crtmp_Str data, size_t *taken);
    /**
     * The head of an HTTP message.
     */
    int32_t (*on_head)(void *instance, const struct crtmp_CxTable *cx, const struct crtmp_HeadTable *head);
    /**
     * The body of an HTTP message is complete.
     */
    int32_t (*on_end)(void *instance, const struct crtmp_CxTable *cx);
    /**
     * The answer to something that the layer emitted, or another order of the server. Endpoints only.
     */
    int32_t (*on_order)(void *instance, const struct crtmp_CxTable *cx, const struct crtmp_OrderTable *order);
    /**
     * Bytes of the near side on their way out; what shall leave instead goes to `crtmp_CxTable.send`. Without it they
     * pass unchanged. Of the context it may use `now_ms`, `send`, `begin`, `end`, `random`, `wake_in` and `fail`;
     * whoever opens, delivers, emits, pauses or closes here ends the connection by that.
     */
    int32_t (*on_send)(void *instance, const struct crtmp_CxTable *cx, struct crtmp_Str data);
    /**
     * The time has come that `crtmp_CxTable.wake_in` named.
     */
    int32_t (*on_timeout)(void *instance, const struct crtmp_CxTable *cx);
} crtmp_LayerTable;

/**
 * A chain: layers by name.
 */
typedef struct crtmp_ChainTable {
    /**
     * Size of this table in bytes, as its author knew it.
     */
    size_t size;
    /**
     * Its name: the `protocol` of an acceptor.
     */
    struct crtmp_Str name;
    /**
     * The names of its layers behind the carrier, far to near, separated by spaces.
     */
    struct crtmp_Str layers;
} crtmp_ChainTable;

/**
 * A filter: looks at every frame of a publication before anybody else does.
 */
typedef struct crtmp_FilterTable {
    /**
     * Size of this table in bytes, as its author knew it.
     */
    size_t size;
    /**
     * Its name: the `filters` of an application list it.
     */
    struct crtmp_Str name;
    /**
     * Makes the filter of a publication; `settings` is JSON text of an object. Required. No null instance. Filters run
     * on workers, those of several publications at the same time.
     */
    int32_t (*create)(struct crtmp_Str settings, const struct crtmp_OutTable *out, void **instance);
    /**
     * Ends it. Required.
     */
    int32_t (*destroy)(void *instance);
    /**
     * Looks at a frame. Required. Returns one of the `CRTMP_FILTER_…` constants, or `CRTMP_FAILED` or
     * `CRTMP_PANICKED`, which end the connection. For `CRTMP_FILTER_REPLACE` the new body has been given to
     * `replace`, which copies it.
     */
    int32_t (*on_frame)(void *instance, const struct crtmp_FrameTable *frame, const struct crtmp_OutTable *out);
} crtmp_FilterTable;

/**
 * What a library exports: who it is and what it brings.
 */
typedef struct crtmp_PluginTable {
    /**
     * `CRTMP_MAGIC`.
     */
    uint64_t magic;
    /**
     * Size of this table in bytes, as its author knew it.
     */
    size_t size;
    /**
     * `CRTMP_ABI_MAJOR` of the header that the plugin was built with.
     */
    uint32_t abi_major;
    /**
     * `CRTMP_ABI_MINOR` of the same.
     */
    uint32_t abi_minor;
    /**
     * Name of the plugin.
     */
    struct crtmp_Str name;
    /**
     * Version of the plugin, free text.
     */
    struct crtmp_Str version;
    /**
     * `app_count` pointers to tables. Pointers, so that tables may differ in size.
     */
    const struct crtmp_AppTable *const *apps;
    /**
     * How many applications the library brings.
     */
    size_t app_count;
    /**
     * `layer_count` pointers to tables.
     */
    const struct crtmp_LayerTable *const *layers;
    /**
     * How many layers the library brings.
     */
    size_t layer_count;
    /**
     * `chain_count` pointers to tables.
     */
    const struct crtmp_ChainTable *const *chains;
    /**
     * How many chains the library brings.
     */
    size_t chain_count;
    /**
     * `filter_count` pointers to tables.
     */
    const struct crtmp_FilterTable *const *filters;
    /**
     * How many filters the library brings.
     */
    size_t filter_count;
} crtmp_PluginTable;

#ifdef __cplusplus
static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "the plugin ABI is for systems of 64 bits");
#else
_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "the plugin ABI is for systems of 64 bits");
#endif

/* What follows is for convenience: macros and inline functions over the tables above. */

/* The name of the descriptor, for its definition: `CRTMP_PLUGIN = { CRTMP_MAGIC, sizeof(crtmp_PluginTable), … };`. */
#define CRTMP_PLUGIN const crtmp_PluginTable CRTMP_PLUGIN_V1

/* Exports a library that brings applications and nothing else: its name, its version, and pointers to the tables of its
 * applications. Once per library:
 *
 *     CRTMP_EXPORT_PLUGIN("limit", "0.1.0", &limit);
 */
#define CRTMP_EXPORT_PLUGIN(plugin_name, plugin_version, ...)                                  \
    static const crtmp_AppTable *const crtmp_exported_apps[] = {__VA_ARGS__};                  \
    CRTMP_PLUGIN = {CRTMP_MAGIC,                                                               \
                    sizeof(crtmp_PluginTable),                                                 \
                    CRTMP_ABI_MAJOR,                                                           \
                    CRTMP_ABI_MINOR,                                                           \
                    CRTMP_STR(plugin_name),                                                    \
                    CRTMP_STR(plugin_version),                                                 \
                    crtmp_exported_apps,                                                       \
                    sizeof(crtmp_exported_apps) / sizeof(crtmp_exported_apps[0]),              \
                    NULL,                                                                      \
                    0,                                                                         \
                    NULL,                                                                      \
                    0,                                                                         \
                    NULL,                                                                      \
                    0}

/* A literal as a text, in an initialiser. */
#define CRTMP_STR(literal) {literal, sizeof(literal) - 1}

/* Both arguments of printf's `%.*s`. */
#define CRTMP_PRINT(text) (int)(text).len, (text).ptr

#ifdef __cplusplus
extern "C" {
#endif
/* What the server looks for in a library; to be seen whatever `-fvisibility` says. */
#ifdef __GNUC__
__attribute__((visibility("default")))
#endif
extern const crtmp_PluginTable CRTMP_PLUGIN_V1;
#ifdef __cplusplus
}
#endif

/* So many bytes as a text. */
static inline crtmp_Str crtmp_str_of(const void *bytes, size_t len) {
    crtmp_Str text = {(const char *)bytes, len};
    return text;
}

/* A text of C, which ends with a zero; NULL is the empty one. */
static inline crtmp_Str crtmp_str(const char *text) {
    return crtmp_str_of(text, text == NULL ? 0 : strlen(text));
}

/* Whether a text is this one. */
static inline int crtmp_str_eq(crtmp_Str text, const char *other) {
    size_t len = strlen(other);
    return text.len == len && (len == 0 || memcmp(text.ptr, other, len) == 0);
}

/* Copies a text and ends it with a zero; what is too long for `size` bytes is cut. Returns `into`. */
static inline char *crtmp_str_copy(crtmp_Str text, char *into, size_t size) {
    size_t len = text.len < size ? text.len : size - 1;
    if (size == 0) {
        return into;
    }
    if (len > 0) {
        memcpy(into, text.ptr, len);
    }
    into[len] = 0;
    return into;
}

/* Bytes of a frame, as numbers from 0 to 255. */
static inline const uint8_t *crtmp_bytes(crtmp_Str bytes) {
    return (const uint8_t *)bytes.ptr;
}

/* A line in the server's log: 0 fatal, 1 error, 2 warning, 3 info, 4 debug, 5 fine, 6 finest. */
static inline void crtmp_log(const crtmp_HostTable *host, uint32_t level, const char *text) {
    host->log(host, level, crtmp_str(text));
}

/* Says why the hook fails: `return crtmp_fail(host, "…");`. */
static inline int32_t crtmp_fail(const crtmp_HostTable *host, const char *reason) {
    host->fail(host, crtmp_str(reason));
    return CRTMP_FAILED;
}

/* Answers a request; `kind` is one of the `CRTMP_ANSWER_…` constants and says what `first` and `second` are. In a hook
 * `return crtmp_answer(…);`; after CRTMP_LATER from any thread. */
static inline int32_t crtmp_answer(const crtmp_HostTable *host, uint64_t request, uint32_t kind, const char *first,
                                   const char *second) {
    crtmp_AnswerTable answer;
    memset(&answer, 0, sizeof answer);
    answer.size = sizeof answer;
    answer.kind = kind;
    answer.first = crtmp_str(first);
    answer.second = crtmp_str(second);
    return host->respond(host, request, &answer);
}

/* Yes. */
static inline int32_t crtmp_accept(const crtmp_HostTable *host, uint64_t request) {
    return crtmp_answer(host, request, CRTMP_ANSWER_ACCEPT, NULL, NULL);
}

/* Yes, under another name: a stream that is published or played. */
static inline int32_t crtmp_accept_as(const crtmp_HostTable *host, uint64_t request, const char *name) {
    return crtmp_answer(host, request, CRTMP_ANSWER_ACCEPT_AS, name, NULL);
}

/* No, with the usual code and this text for the far end. */
static inline int32_t crtmp_reject(const crtmp_HostTable *host, uint64_t request, const char *text) {
    return crtmp_answer(host, request, CRTMP_ANSWER_REJECT, NULL, text);
}

/* The result of a command: JSON text. */
static inline int32_t crtmp_result(const crtmp_HostTable *host, uint64_t request, const char *json) {
    return crtmp_answer(host, request, CRTMP_ANSWER_RESULT, json, NULL);
}

#endif /* CRTMP_PLUGIN_H */
