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
