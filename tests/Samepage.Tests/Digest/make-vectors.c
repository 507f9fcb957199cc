/* Prints the lines of vectors.txt with the reference implementation (libxxhash):
 *     cc -O1 -o make-vectors make-vectors.c -lxxhash && ./make-vectors >> vectors.txt
 * A line is: pattern, seed (hex), digest (hex, high half first). */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static uint8_t page[4096];

/* "rampN": byte i is (i * N + i / 256) mod 256; "zero"; "ones"; "bitN": all zero but bit N of the page. */
static void fill(const char *name)
{
    unsigned n = 0;

    memset(page, strcmp(name, "ones") == 0 ? 0xff : 0, sizeof(page));
    if (sscanf(name, "ramp%u", &n) == 1)
        for (unsigned i = 0; i < sizeof(page); i++)
            page[i] = (uint8_t)(i * n + i / 256);
    else if (sscanf(name, "bit%u", &n) == 1)
        page[n / 8] = (uint8_t)(1u << n % 8);
}

int main(void)
{
    static const char *names[] = {
        "zero", "ones", "ramp1", "ramp7", "ramp131", "ramp255", "bit0", "bit511", "bit16384", "bit32767",
    };
    static const uint64_t seeds[] = { 0, 1, 0x9e3779b185ebca8d, 0xffffffffffffffff };

    for (unsigned n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
        fill(names[n]);
        for (unsigned s = 0; s < sizeof(seeds) / sizeof(seeds[0]); s++) {
            XXH128_hash_t h = XXH3_128bits_withSeed(page, sizeof(page), seeds[s]);
            printf("%s %llx %016llx%016llx\n", names[n], (unsigned long long)seeds[s],
                   (unsigned long long)h.high64, (unsigned long long)h.low64);
        }
    }
    return 0;
}
