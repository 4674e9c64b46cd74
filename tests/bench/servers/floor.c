/* The kernel's floor: accepts connections, then send()s one ready-made frame to each, and does nothing else.
 *
 * floor PORT; on its first connection it is told, on one line, "pattern messages interval_ms stamp_offset frame_bytes
 * connections", and then the frame. Patterns are as in emitting.py. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <netinet/tcp.h>

enum { MOST_CONNECTIONS = 20000, MOST_FRAME = 65536, BURST = 20, STAMP_DIGITS = 16 };

static int connections[MOST_CONNECTIONS];
static int connected;
static char frame[MOST_FRAME];

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sleep_until(int64_t moment)
{
    struct timespec until = {.tv_sec = moment / 1000000000, .tv_nsec = moment % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void send_all(int connection, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            perror("send");
            exit(1);
        }
        data += sent;
        size -= sent;
    }
}

static void emit_all(const char *pattern, int messages, int64_t interval, int stamp_offset, int size)
{
    char stamp[STAMP_DIGITS + 1];
    int64_t due = now_ns();
    for (int number = 1; number <= messages; number++) {
        snprintf(stamp, sizeof stamp, "%016lld", (long long)now_ns());
        memcpy(frame + stamp_offset, stamp, STAMP_DIGITS);
        for (int i = 0; i < connected; i++)
            send_all(connections[i], frame, size);
        if (strcmp(pattern, "paced") == 0)
            sleep_until(due += interval);
        else if (strcmp(pattern, "burst") == 0 && number % BURST == 0)
            sleep_until(now_ns() + interval);
    }
}

static int read_command(int connection)
{
    char line[256], pattern[32];
    int size = 0, messages, interval_ms, stamp_offset, frame_bytes, expected;
    while (size < (int)sizeof line - 1 && recv(connection, line + size, 1, 0) == 1)
        if (line[size++] == '\n')
            break;
    line[size] = 0;
    if (sscanf(line, "%31s %d %d %d %d %d", pattern, &messages, &interval_ms, &stamp_offset, &frame_bytes, &expected) != 6
        || frame_bytes > MOST_FRAME || stamp_offset + STAMP_DIGITS > frame_bytes || expected != connected)
        return 0;
    for (int got = 0, more; got < frame_bytes; got += more)
        if ((more = recv(connection, frame + got, frame_bytes - got, 0)) <= 0)
            return 0;
    emit_all(pattern, messages, interval_ms * 1000000LL, stamp_offset, frame_bytes);
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (argc < 2)
        return 2;
    address.sin_port = htons(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("listen");
        return 1;
    }
    puts("READY");
    fflush(stdout);
    for (;;) {
        struct pollfd ready[2] = {{.fd = listener, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
        if (connected)
            ready[1].fd = connections[0];
        if (poll(ready, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (ready[0].revents && connected < MOST_CONNECTIONS) {
            int connection = accept(listener, NULL, NULL);
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            connections[connected++] = connection;
        } else if (ready[1].revents && !read_command(connections[0])) {
            return 1;
        }
    }
}
