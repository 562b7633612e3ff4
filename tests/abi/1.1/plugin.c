/* A plugin that uses what version 1.1 has brought, built with the header as it was then. It never changes, and every
 * later server must load it. */

#include "crtmp_plugin.h"

#include <stdlib.h>

struct everything {
    const crtmp_HostTable *host;
};

static int32_t create(const crtmp_HostTable *host, crtmp_Str settings, void **instance) {
    struct everything *self = calloc(1, sizeof *self);
    (void)settings;
    if (self == NULL) {
        return crtmp_fail(host, "no memory");
    }
    self->host = host;
    *instance = self;
    return CRTMP_OK;
}

static int32_t destroy(void *instance) {
    free(instance);
    return CRTMP_OK;
}

static int32_t on_shared_object(void *instance, const crtmp_ConnTable *conn,
                                const crtmp_SharedObjectRequest *what) {
    const crtmp_HostTable *host = ((struct everything *)instance)->host;
    (void)conn;
    host->log(host, 3, what->wishes);
    if (what->persistent != 0 && crtmp_str_eq(what->name, "room")) {
        return crtmp_reject(host, what->request, "nothing stays");
    }
    return crtmp_accept(host, what->request);
}

static const crtmp_AppTable everything = {
    .size = sizeof(crtmp_AppTable),
    .name = CRTMP_STR("everything"),
    .create = create,
    .destroy = destroy,
    .on_shared_object = on_shared_object,
};

CRTMP_EXPORT_PLUGIN("frozen", "1.1", &everything);
