/* An RTMP server of one connection, made of librtmp: its handshake, ciphers and chunks are none of ours. Encrypted
 * clients are served like plain ones.
 *
 *     server PORT FILM OUT
 *
 * Whoever plays gets FILM, an FLV file, in real time; what somebody publishes is written to OUT, but for its
 * descriptions. */

#include <arpa/inet.h>
#include <librtmp/rtmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TAG 11

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static AVal text(const char *of) {
    AVal value = {(char *)of, (int)strlen(of)};
    return value;
}

static void send_command(RTMP *rtmp, int stream, char *begin, char *end) {
    RTMPPacket packet = {0};
    packet.m_nChannel = 3;
    packet.m_headerType = RTMP_PACKET_SIZE_LARGE;
    packet.m_packetType = RTMP_PACKET_TYPE_INVOKE;
    packet.m_nInfoField2 = stream;
    packet.m_body = begin;
    packet.m_nBodySize = (uint32_t)(end - begin);
    if (!RTMP_SendPacket(rtmp, &packet, FALSE)) {
        fail("a command cannot be sent");
    }
}

/* `name` with `transaction`; then either a null and an object with `code`, or a null and `number`. */
static void answer(RTMP *rtmp, int stream, const char *name, double transaction, const char *code, double number) {
    char buffer[1024], *begin = buffer + RTMP_MAX_HEADER_SIZE, *end = buffer + sizeof buffer, *at = begin;
    AVal command = text(name), key = text("code"), value = text(code ? code : "");
    at = AMF_EncodeString(at, end, &command);
    at = AMF_EncodeNumber(at, end, transaction);
    *at++ = AMF_NULL;
    if (code) {
        *at++ = AMF_OBJECT;
        at = AMF_EncodeNamedString(at, end, &key, &value);
        at = AMF_EncodeInt24(at, end, AMF_OBJECT_END);
    } else {
        at = AMF_EncodeNumber(at, end, number);
    }
    send_command(rtmp, stream, begin, at);
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void play(RTMP *rtmp, const char *film) {
    static char buffer[RTMP_MAX_HEADER_SIZE + (1 << 24)];
    char *body = buffer + RTMP_MAX_HEADER_SIZE;
    unsigned char tag[TAG];
    long begin = milliseconds();
    FILE *file = fopen(film, "rb");
    if (!file || fseek(file, 13, SEEK_SET)) {
        fail("there is no film");
    }
    while (fread(tag, TAG, 1, file) == 1) {
        uint32_t size = (uint32_t)tag[1] << 16 | (uint32_t)tag[2] << 8 | tag[3];
        uint32_t time = (uint32_t)tag[7] << 24 | (uint32_t)tag[4] << 16 | (uint32_t)tag[5] << 8 | tag[6];
        RTMPPacket packet = {0};
        /* Behind each tag stands its size. */
        if (fread(body, size, 1, file) != 1 || fseek(file, 4, SEEK_CUR)) {
            break;
        }
        while (milliseconds() - begin < (long)time) {
            usleep(1000);
        }
        packet.m_nChannel = tag[0] == RTMP_PACKET_TYPE_VIDEO ? 6 : 4;
        packet.m_headerType = RTMP_PACKET_SIZE_LARGE;
        packet.m_packetType = tag[0];
        packet.m_nTimeStamp = time;
        packet.m_hasAbsTimestamp = TRUE;
        packet.m_nInfoField2 = 1;
        packet.m_body = body;
        packet.m_nBodySize = size;
        if (!RTMP_SendPacket(rtmp, &packet, FALSE)) {
            break;
        }
    }
    fclose(file);
}

static void keep(FILE *file, const RTMPPacket *packet) {
    uint32_t size = packet->m_nBodySize, time = packet->m_nTimeStamp, whole = size + TAG;
    unsigned char type = packet->m_packetType;
    unsigned char tag[TAG] = {type, size >> 16, size >> 8, size, time >> 16, time >> 8, time, time >> 24};
    unsigned char end[4] = {whole >> 24, whole >> 16, whole >> 8, whole};
    if (fwrite(tag, TAG, 1, file) != 1 || fwrite(packet->m_body, size, 1, file) != 1 ||
        fwrite(end, sizeof end, 1, file) != 1 || fflush(file)) {
        fail("what is published cannot be written");
    }
}

/* Gives the file for what is published, once something is. */
static FILE *obey(RTMP *rtmp, const RTMPPacket *packet, char **arguments) {
    AMFObject object;
    AVal name;
    double transaction;
    FILE *file = NULL;
    if (AMF_Decode(&object, packet->m_body, (int)packet->m_nBodySize, FALSE) < 0) {
        fail("a command is no AMF");
    }
    AMFProp_GetString(AMF_GetProp(&object, NULL, 0), &name);
    transaction = AMFProp_GetNumber(AMF_GetProp(&object, NULL, 1));
    fprintf(stderr, "%.*s\n", name.av_len, name.av_val);
    if (AVMATCH(&name, &(AVal)AVC("connect"))) {
        answer(rtmp, 0, "_result", transaction, "NetConnection.Connect.Success", 0);
    } else if (AVMATCH(&name, &(AVal)AVC("createStream"))) {
        answer(rtmp, 0, "_result", transaction, NULL, 1);
    } else if (AVMATCH(&name, &(AVal)AVC("publish"))) {
        answer(rtmp, 1, "onStatus", 0, "NetStream.Publish.Start", 0);
        file = fopen(arguments[3], "wb");
        if (!file || fwrite("FLV\1\5\0\0\0\11\0\0\0", 13, 1, file) != 1) {
            fail("what is published cannot be written");
        }
    } else if (AVMATCH(&name, &(AVal)AVC("play"))) {
        answer(rtmp, 1, "onStatus", 0, "NetStream.Play.Start", 0);
        play(rtmp, arguments[2]);
    }
    AMF_Reset(&object);
    return file;
}

int main(int count, char **arguments) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {0};
    RTMP *rtmp = RTMP_Alloc();
    RTMPPacket packet = {0};
    FILE *file = NULL;
    if (count != 4) {
        fail("server PORT FILM OUT");
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1)) {
        fail("the port cannot be listened on");
    }
    RTMP_Init(rtmp);
    rtmp->m_sb.sb_socket = accept(listener, NULL, NULL);
    if (!RTMP_Serve(rtmp)) {
        fail("no handshake");
    }
    fprintf(stderr, "%s\n", rtmp->Link.rc4keyIn ? "encrypted" : "plain");
    while (RTMP_ReadPacket(rtmp, &packet)) {
        int type = packet.m_packetType;
        if (!RTMPPacket_IsReady(&packet)) {
            continue;
        }
        if (type == RTMP_PACKET_TYPE_CHUNK_SIZE) {
            rtmp->m_inChunkSize = (int)AMF_DecodeInt32(packet.m_body);
        } else if (type == RTMP_PACKET_TYPE_INVOKE) {
            FILE *opened = obey(rtmp, &packet, arguments);
            file = opened ? opened : file;
        } else if (file && (type == RTMP_PACKET_TYPE_AUDIO || type == RTMP_PACKET_TYPE_VIDEO)) {
            keep(file, &packet);
        }
        RTMPPacket_Free(&packet);
    }
    return 0;
}
