#include <palimpsest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int result) {
  if (result == palimpsest_ok) return;
  fprintf(stderr, "example_c: %s\n", palimpsest_last_error());
  exit(result);
}

static int print(void* user, const char* text, size_t bytes) {
  (void)user;
  fwrite(text, 1, bytes, stdout);
  return 0;
}

/* example_c RUN STATE: goes on with a text, and puts aside what the model remembers. */
int main(int argument_count, char** arguments) {
  if (argument_count != 3) return palimpsest_argument_error;
  struct PalimpsestModel* model = NULL;
  check(palimpsest_model_open(arguments[1], /*step=*/0, /*threads=*/0, &model));
  struct PalimpsestModelInfo info;
  check(palimpsest_model_info(model, &info));

  struct PalimpsestText* text = NULL;
  check(palimpsest_text_new(model, &text));
  const char* start = "the memory of the";
  check(palimpsest_text_append(text, start, strlen(start)));
  float* logits = malloc((size_t)info.vocabulary * sizeof(float));
  check(palimpsest_text_logits(text, logits, (size_t)info.vocabulary));
  int64_t likeliest = 0;
  for (int64_t token = 1; token < info.vocabulary; ++token) {
    if (logits[token] > logits[likeliest]) likeliest = token;
  }
  printf("the likeliest token is %lld\n", (long long)likeliest);
  free(logits);

  struct PalimpsestGeneration options;
  palimpsest_generation_defaults(&options);
  options.max_tokens = 20;
  options.temperature = 0.8;
  options.seed = 7;
  check(palimpsest_text_generate(text, &options, print, NULL, NULL, NULL));
  check(palimpsest_text_save(text, arguments[2]));
  check(palimpsest_text_flush(text, print, NULL));
  printf("\n");
  palimpsest_text_close(text);
  palimpsest_model_close(model);
  return 0;
}
