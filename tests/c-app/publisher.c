/* An application in C that publishes an FLV file in real time: `stream` is its name, `file` the file. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "crtmp_plugin.h"

struct publisher {
    const crtmp_HostTable *host;
    char name[256];
    char file[4096];
    uint64_t source;
    pthread_t thread;
    int has_thread;
    _Atomic int stop;
};

/* The text of a member of an object of texts; enough for settings without escapes. */
static int member(crtmp_Str json, const char *key, char *into, size_t size) {
    char text[8192], quoted[64];
    crtmp_str_copy(json, text, sizeof text);
    snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
    const char *at = strstr(text, quoted);
    if (at == NULL) {
        return 0;
    }
    at += strlen(quoted);
    size_t len = strcspn(at, "\"");
    crtmp_str_copy(crtmp_str_of(at, len), into, size);
    return 1;
}

static uint32_t number(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
}

static void *publish(void *argument) {
    struct publisher *self = argument;
    const crtmp_HostTable *host = self->host;
    FILE *file = fopen(self->file, "rb");
    unsigned char head[11];
    uint64_t started = host->now_ms(host);
    if (file == NULL || fseek(file, 13, SEEK_SET) != 0) {
        crtmp_log(host, 1, "the file cannot be read");
    }
    while (file != NULL && !self->stop && fread(head, 1, sizeof head, file) == sizeof head) {
        uint32_t size = number(head + 1);
        char *body = malloc(size + 4);
        if (body == NULL || fread(body, 1, size + 4, file) != size + 4) {
            free(body);
            break;
        }
        crtmp_FrameTable frame;
        memset(&frame, 0, sizeof frame);
        frame.size = sizeof frame;
        frame.kind = head[0];
        frame.dts_ms = number(head + 4) | (int64_t)head[7] << 24;
        frame.body = crtmp_str_of(body, size);
        while (!self->stop && host->now_ms(host) < started + (uint64_t)frame.dts_ms) {
            struct timespec moment = {0, 2000000};
            nanosleep(&moment, NULL);
        }
        int32_t status = host->source_frame(host, self->source, &frame);
        free(body);
        if (status == CRTMP_GONE) {
            break;
        }
        if (status != CRTMP_OK) {
            crtmp_log(host, 2, "a frame was left out");
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    host->source_close(host, self->source);
    return NULL;
}

static int32_t create(const crtmp_HostTable *host, crtmp_Str settings, void **instance) {
    struct publisher *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return crtmp_fail(host, "no memory");
    }
    self->host = host;
    if (!member(settings, "stream", self->name, sizeof self->name) ||
        !member(settings, "file", self->file, sizeof self->file)) {
        free(self);
        return crtmp_fail(host, "`stream` and `file` say what to publish");
    }
    /* on_source says what becomes of it, after this has returned. */
    self->source = host->source_open(host, crtmp_str(self->name));
    *instance = self;
    return CRTMP_OK;
}

static int32_t destroy(void *instance) {
    struct publisher *self = instance;
    self->stop = 1;
    if (self->has_thread) {
        pthread_join(self->thread, NULL);
    }
    free(self);
    return CRTMP_OK;
}

static int32_t on_source(void *instance, const crtmp_SourceNotice *notice) {
    struct publisher *self = instance;
    if (notice->state == CRTMP_SOURCE_LIVE && !self->has_thread) {
        self->has_thread = pthread_create(&self->thread, NULL, publish, self) == 0;
    }
    return CRTMP_OK;
}

static const crtmp_AppTable app = {
    .size = sizeof(crtmp_AppTable),
    .name = CRTMP_STR("cpublisher"),
    .create = create,
    .destroy = destroy,
    .on_source = on_source,
};

CRTMP_EXPORT_PLUGIN("cpublisher", "0.1.0", &app);
