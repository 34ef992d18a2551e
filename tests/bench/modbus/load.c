/* A closed-loop load: C connections, each asks for N input registers from address A and waits for the answer.
   usage: load PORT CONNECTIONS SECONDS ADDRESS REGISTERS -> "requests_per_s p50_us p99_us wrong" */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 200000

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    int port = atoi(argv[1]), count = atoi(argv[2]), address = atoi(argv[4]), registers = atoi(argv[5]);
    double seconds = atof(argv[3]);
    int epoll = epoll_create1(0), *fds = calloc(count, sizeof(int)), *have = calloc(count, sizeof(int));
    uint16_t *ids = calloc(count, sizeof(uint16_t));
    double *asked = calloc(count, sizeof(double));
    float *took = calloc(SLOTS, sizeof(float));
    int size = 9 + 2 * registers;
    unsigned char ask[12] = {0, 0, 0, 0, 0, 6, 1, 4, address >> 8, address & 255, registers >> 8, registers & 255};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    for (int i = 0; i < count; i++) {
        int one = 1;
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (struct sockaddr *)&to, sizeof to) < 0) return 1;
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
        asked[i] = now_us();
        if (write(fds[i], ask, sizeof ask) < 0) return 1;
    }
    long done = 0, wrong = 0;
    double start = now_us(), end = start + seconds * 1e6;
    struct epoll_event events[256];
    unsigned char reply[512];
    while (now_us() < end) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            int got = read(fds[i], reply, sizeof reply);
            if (got <= 0) return 1;
            if (have[i] == 0 && (reply[0] != (ids[i] >> 8) || reply[1] != (ids[i] & 255) || reply[7] != 4)) wrong++;
            have[i] += got;
            if (have[i] < size) continue;
            if (have[i] > size) wrong++;
            took[done % SLOTS] = now_us() - asked[i];
            done++;
            have[i] = 0;
            ids[i]++;
            ask[0] = ids[i] >> 8;
            ask[1] = ids[i] & 255;
            asked[i] = now_us();
            if (write(fds[i], ask, sizeof ask) < 0) return 1;
        }
    }
    double spent = (now_us() - start) / 1e6;
    long kept = done < SLOTS ? done : SLOTS;
    if (kept == 0) return 1;
    qsort(took, kept, sizeof(float), by_size);
    printf("%.0f %.0f %.0f %ld\n", done / spent, took[kept / 2], took[(long)(kept * 0.99)], wrong);
    return 0;
}
