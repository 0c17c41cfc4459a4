/* sums: CRC-32, Adler-32 and SHA-256 of files, or of standard input when none is named. */
#include "sums.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct sums {
    uint32_t crc, adler;
    char sha[2 * SHA256_BYTES + 1];
};

static int sum_stream(FILE *stream, struct sums *sums)
{
    unsigned char buffer[65536], digest[SHA256_BYTES];
    struct sha256 hash;
    size_t size;

    sums->crc = 0;
    sums->adler = 1;
    sha256_begin(&hash);
    while ((size = fread(buffer, 1, sizeof buffer, stream)) > 0) {
        sums->crc = crc32_add(sums->crc, buffer, size);
        sums->adler = adler32_add(sums->adler, buffer, size);
        sha256_add(&hash, buffer, size);
    }
    sha256_end(&hash, digest);
    for (int i = 0; i < SHA256_BYTES; i++)
        sprintf(sums->sha + 2 * i, "%02x", digest[i]);
    return ferror(stream) ? -1 : 0;
}

static int show(const char *name)
{
    FILE *stream = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    struct sums sums;
    int failed;

    if (stream == NULL) {
        fprintf(stderr, "sums: %s: %s\n", name, strerror(errno));
        return 1;
    }
    failed = sum_stream(stream, &sums);
    if (failed)
        fprintf(stderr, "sums: %s: %s\n", name, strerror(errno));
    else
        printf("%08x  %08x  %s  %s\n", sums.crc, sums.adler, sums.sha, name);
    if (stream != stdin)
        fclose(stream);
    return failed != 0;
}

/* The published test vectors of the three algorithms. */
static int self_test(void)
{
    static const struct {
        const char *text;
        int times;
        struct sums want;
    } cases[] = {
        {"", 1, {0x00000000, 0x00000001, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
        {"abc", 1, {0x352441c2, 0x024d0127, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
        {"aaaaaaaaaa", 100000, {0xdc25bfbc, 0x15d870f9, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"}},
    };
    const int count = sizeof cases / sizeof *cases;

    for (int i = 0; i < count; i++) {
        FILE *stream = tmpfile();
        struct sums got;
        if (stream == NULL) {
            perror("sums: a temporary file");
            return 1;
        }
        for (int j = 0; j < cases[i].times; j++)
            fputs(cases[i].text, stream);
        rewind(stream);
        sum_stream(stream, &got);
        fclose(stream);
        if (got.crc != cases[i].want.crc || got.adler != cases[i].want.adler
            || strcmp(got.sha, cases[i].want.sha) != 0) {
            printf("case %d failed: %08x  %08x  %s\n", i + 1, got.crc, got.adler, got.sha);
            return 1;
        }
    }
    printf("self-test: %d cases passed\n", count);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc == 2 && strcmp(argv[1], "--self-test") == 0)
        return self_test();
    if (argc == 1)
        return show("-");
    for (int i = 1; i < argc; i++)
        failed |= show(argv[i]);
    return failed;
}
