/* The scripted model of the benchmarks: an OpenAI-compatible server that answers at once.
 *
 *   upstream PORT ANSWERS_EN ANSWERS_ZH
 *
 * Each file has one answer a line, its deltas separated by tabs, already escaped for JSON. Answers rotate, so that no
 * cache behind the gateway sees a text twice in a run. One thread, epoll, keep-alive; GET answers the list of models.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY = 1 << 20, HEAD = 1 << 14, CLIENTS = 4096 };

typedef struct { char *text; size_t length; } Response;
typedef struct { Response *whole, *stream; size_t count, next; } Answers;
typedef struct { char *data; size_t used, size; } Client;

static Answers english, chinese;
static Client *clients[CLIENTS];

static void die(const char *what) { perror(what); exit(1); }

static Response respond(const char *type, const char *body, size_t length) {
    Response made;
    made.text = malloc(length + 256);
    if (!made.text) die("malloc");
    int head = sprintf(made.text, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n\r\n", type, length);
    memcpy(made.text + head, body, length);
    made.length = head + length;
    return made;
}

static const char *FIRST = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
                           "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                           "\"finish_reason\":null}]}\n\n";
static const char *LAST = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
                          "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                          "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
                          "\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":50,"
                          "\"total_tokens\":70}}\n\ndata: [DONE]\n\n";
static const char *WHOLE = "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":"
                           "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                           "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":50,"
                           "\"total_tokens\":70}}";

static void add(Answers *to, char *line) {
    static char body[BODY], joined[BODY / 2];
    size_t at = 0, length = 0;
    for (char *save = NULL, *part = strtok_r(line, "\t", &save); part; part = strtok_r(NULL, "\t", &save)) {
        at += sprintf(body + at, FIRST, part);
        length += sprintf(joined + length, "%s", part);
    }
    at += sprintf(body + at, "%s", LAST);
    to->whole = realloc(to->whole, (to->count + 1) * sizeof *to->whole);
    to->stream = realloc(to->stream, (to->count + 1) * sizeof *to->stream);
    if (!to->whole || !to->stream) die("realloc");
    to->stream[to->count] = respond("text/event-stream", body, at);
    at = snprintf(body, sizeof body, WHOLE, joined);
    to->whole[to->count++] = respond("application/json", body, at);
}

static void load(Answers *to, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    char *line = NULL;
    size_t size = 0;
    for (ssize_t got; (got = getline(&line, &size, file)) > 0;) {
        if (line[got - 1] == '\n') line[got - 1] = 0;
        if (*line) add(to, line);
    }
    free(line);
    fclose(file);
    if (!to->count) { fprintf(stderr, "%s holds no answers\n", path); exit(1); }
}

static void send_all(int socket, const char *text, size_t length) {
    while (length) {
        ssize_t sent = send(socket, text, length, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) { usleep(100); continue; }
        if (sent < 0) return;
        text += sent;
        length -= sent;
    }
}

static const Response *choose(const char *request, size_t length) {
    static Response models;
    if (!strncmp(request, "GET", 3)) {
        static const char *list = "{\"object\":\"list\",\"data\":[{\"id\":\"bench-en\",\"object\":\"model\"},"
                                  "{\"id\":\"bench-zh\",\"object\":\"model\"}]}";
        if (!models.text) models = respond("application/json", list, strlen(list));
        return &models;
    }
    Answers *from = memmem(request, length, "bench-zh", 8) ? &chinese : &english;
    size_t which = from->next++ % from->count;
    int streamed = memmem(request, length, "\"stream\":true", 13) || memmem(request, length, "\"stream\": true", 14);
    return streamed ? &from->stream[which] : &from->whole[which];
}

/* Length of the first complete request in the buffer; 0 while it is incomplete. */
static size_t complete(const Client *client) {
    const char *end = memmem(client->data, client->used, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end + 4 - client->data, body = 0;
    for (const char *line = client->data; line < end; line++) {
        if (!strncasecmp(line, "\ncontent-length:", 16)) body = strtoul(line + 16, NULL, 10);
    }
    return client->used >= head + body ? head + body : 0;
}

static int serve(int socket) {
    Client *client = clients[socket];
    if (client->used + HEAD + 1 > client->size) {
        client->size = client->size * 2 + HEAD * 2;
        if (client->size > BODY * 4 || !(client->data = realloc(client->data, client->size))) return -1;
    }
    ssize_t got = recv(socket, client->data + client->used, client->size - client->used - 1, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0) return -1;
    client->used += got;
    client->data[client->used] = 0;
    for (size_t length; (length = complete(client)) > 0;) {
        const Response *answer = choose(client->data, length);
        send_all(socket, answer->text, answer->length);
        memmove(client->data, client->data + length, client->used - length);
        client->used -= length;
        client->data[client->used] = 0;
    }
    return 0;
}

static void drop(int socket) {
    free(clients[socket]->data);
    free(clients[socket]);
    clients[socket] = NULL;
    close(socket);
}

int main(int count, char **arguments) {
    if (count != 4) { fprintf(stderr, "upstream PORT ANSWERS_EN ANSWERS_ZH\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    load(&english, arguments[2]);
    load(&chinese, arguments[3]);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int found = epoll_wait(poll, ready, 64, -1);
        for (int i = 0; i < found; i++) {
            int which = ready[i].data.fd;
            if (which != listener) {
                if (serve(which)) drop(which);
                continue;
            }
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (client < 0) continue;
            if (client >= CLIENTS || !(clients[client] = calloc(1, sizeof(Client)))) { close(client); continue; }
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event.data.fd = client;
            epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
        }
    }
}
