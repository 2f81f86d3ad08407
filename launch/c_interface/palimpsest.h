/* Palimpsest from C, and from whatever calls C (docs/library.md): a trained model reads texts of any length, gives the
 * logits of what comes next, writes on, and puts aside what it remembers. In one process, without MPI.
 *
 * Every function that can fail returns a PalimpsestResult, and then palimpsest_last_error() says what was wrong; a
 * result argument is untouched. No C++ exception leaves a function. Text is UTF-8, given with its length in bytes; the
 * names of files end with a zero. Memory that a function fills belongs to the caller, memory that it points to to the
 * handle.
 *
 * Threads. Every function may be called by any thread. Calls with different handles go on side by side, also where
 * texts are of one model; calls with the same handle wait for each other, those that read or write a file for every
 * other such call. A handle must not be closed while a call with it has not returned. A text keeps what it needs of its
 * model: handles are closed in any order. After fork() the child must not use handles of its parent. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

/* The values are the program's exit codes. */
enum PalimpsestResult {
  palimpsest_ok = 0,
  palimpsest_internal_error = 1, /* or out of memory */
  palimpsest_argument_error = 2, /* a null pointer, an option or a size that cannot be */
  palimpsest_input_error = 3,    /* a file, a state or a token that cannot be read or used */
  palimpsest_output_error = 4,   /* a file that cannot be written; an earlier one is as it was */
  palimpsest_numerical_error = 5 /* logits that are not finite */
};

/* The version of the library, "0.1.0". */
const char* palimpsest_version(void);
/* What was wrong with the last call of this thread that failed; until its next one that fails. Never null. */
const char* palimpsest_last_error(void);

/* -- Models: read once, never changed -- */

struct PalimpsestModel;

struct PalimpsestModelInfo {
  int64_t vocabulary; /* logits that the model gives; tokens of text are fewer where the tokenizer has fewer */
  int64_t tokens;     /* of the tokenizer's vocabulary */
  int64_t layers;
  int64_t segment_length;
  int64_t parameters;
  int64_t step; /* of the training that the checkpoint is of */
  int32_t begin_token;
  int32_t end_token;
};

/* `path`: a checkpoint, a run directory or the configuration of a run; of a run the checkpoint of `step`, or for 0 the
 * newest that is whole. `threads` compute each call that needs it; 0: OMP_NUM_THREADS, else the cores there are. */
int palimpsest_model_open(const char* path, int64_t step, int64_t threads, struct PalimpsestModel** model);
/* Does nothing with null. */
void palimpsest_model_close(struct PalimpsestModel* model);
int palimpsest_model_info(const struct PalimpsestModel* model, struct PalimpsestModelInfo* info);
/* What was noticed on opening and hinders nothing, a line each, such as a newer checkpoint that is damaged; most often
 * empty. Until the model is closed. */
int palimpsest_model_warnings(const struct PalimpsestModel* model, const char** warnings);
/* The tokens of a text, without begin and end. `*count` becomes their number; they are written where there is room for
 * all of them (`capacity`), else nothing is. */
int palimpsest_model_encode(const struct PalimpsestModel* model, const char* text, size_t bytes, int32_t* tokens,
                            size_t capacity, size_t* count);
/* The reverse, likewise. */
int palimpsest_model_decode(const struct PalimpsestModel* model, const int32_t* tokens, size_t count, char* text,
                            size_t capacity, size_t* bytes);

/* -- Texts: what a model has read, and what comes next -- */

struct PalimpsestText;

struct PalimpsestGeneration {
  int64_t max_tokens;
  double temperature; /* 0: always the likeliest token */
  int64_t top_k;      /* 0: all */
  double top_p;
  double min_p;
  double repetition_penalty;
  uint64_t seed;
  const char* const* stop; /* texts that end it, and are not part of it; may be null */
  size_t stop_count;
};

/* More of how the next token is chosen. Later versions may have more members behind these: `size` says which the caller
 * knows of, and keeps programs that were built earlier working; the rest is as by default. A larger struct than the
 * library's, of a later version, is refused. */
struct PalimpsestDecoding {
  size_t size;             /* of this struct in bytes, as palimpsest_decoding_defaults leaves it */
  int64_t min_tokens;      /* the end token is not among the first so many */
  int64_t no_repeat_ngram; /* no run of so many tokens comes twice; 0: any may */
  int64_t beams;           /* more than 1: the likeliest text is searched for, and none drawn */
  double length_penalty;   /* of that search */
};

enum PalimpsestFinish {
  palimpsest_finish_length = 0,
  palimpsest_finish_end = 1, /* the model's end token */
  palimpsest_finish_stop = 2,
  palimpsest_finish_interrupted = 3 /* the callback has asked for it */
};

/* The start of a document. */
int palimpsest_text_new(const struct PalimpsestModel* model, struct PalimpsestText** text);
/* Goes on with what palimpsest_text_save, or `palimpsest generate --save-state`, has written. */
int palimpsest_text_open(const struct PalimpsestModel* model, const char* path, struct PalimpsestText** text);
/* A text with the same past, which goes on apart; cheap. */
int palimpsest_text_copy(struct PalimpsestText* text, struct PalimpsestText** copy);
void palimpsest_text_close(struct PalimpsestText* text);

/* The text goes on with this, which has to be UTF-8. The model reads it when that is needed, or when it is told to. */
int palimpsest_text_append(struct PalimpsestText* text, const char* bytes, size_t count);
int palimpsest_text_append_tokens(struct PalimpsestText* text, const int32_t* tokens, size_t count);
int palimpsest_text_read(struct PalimpsestText* text);
/* Tokens that the model has read, the begin token included, and those that it has not. */
int palimpsest_text_position(struct PalimpsestText* text, int64_t* read, int64_t* unread);
/* Reads what is unread. The logits of the next token; `count` has to be the model's `vocabulary`. */
int palimpsest_text_logits(struct PalimpsestText* text, float* logits, size_t count);

/* The options as `palimpsest generate` has them by default. */
void palimpsest_generation_defaults(struct PalimpsestGeneration* options);
/* Continues the text. `write` receives what is added as it comes, whole characters; other than 0 from it ends the
 * generation after this token. Calls with the same text are refused meanwhile; it must not be closed. What may become a
 * character or a stop text is held back for a generation that goes on from here; see palimpsest_text_flush. `tokens`
 * and `finish` may be null. */
int palimpsest_text_generate(struct PalimpsestText* text, const struct PalimpsestGeneration* options,
                             int (*write)(void* user, const char* text, size_t bytes), void* user, int64_t* tokens,
                             int* finish);
/* The options as `palimpsest generate` has them by default; `size` is sizeof(struct PalimpsestDecoding). */
int palimpsest_decoding_defaults(struct PalimpsestDecoding* decoding, size_t size);
/* palimpsest_text_generate with these options, too. With several beams the text comes as a whole, when it is found;
 * `options` then has to be without what draws: temperature 1, top_k 0, top_p 1 and min_p 0, as by default. */
int palimpsest_text_generate_decoding(struct PalimpsestText* text, const struct PalimpsestGeneration* options,
                                      const struct PalimpsestDecoding* decoding,
                                      int (*write)(void* user, const char* text, size_t bytes), void* user,
                                      int64_t* tokens, int* finish);
/* Writes what was held back, when nothing comes after it. */
int palimpsest_text_flush(struct PalimpsestText* text, int (*write)(void* user, const char* text, size_t bytes),
                          void* user);

/* Replaces or creates a file from which palimpsest_text_open goes on, bit for bit. */
int palimpsest_text_save(struct PalimpsestText* text, const char* path);

/* -- States: what a text remembers, as named arrays (docs/file-formats.md, "States of a text") -- */

struct PalimpsestState;

enum PalimpsestType {
  palimpsest_float32 = 0,
  palimpsest_bfloat16 = 1, /* two bytes, the upper half of a float32 */
  palimpsest_float64 = 2,
  palimpsest_uint8 = 3,
  palimpsest_int32 = 4,
  palimpsest_int64 = 5
};

/* Dense, the last axis first. Single numbers have no axis, texts are arrays of bytes. */
struct PalimpsestArray {
  const char* name;
  int type; /* a PalimpsestType */
  size_t axes;
  const int64_t* shape;
  const void* data;
  size_t bytes;
};

int palimpsest_text_state(struct PalimpsestText* text, struct PalimpsestState** state);
/* A text that goes on from a state. One of another model is refused, and what differs is named. */
int palimpsest_text_from_state(const struct PalimpsestModel* model, struct PalimpsestState* state,
                               struct PalimpsestText** text);
/* A state without arrays, to be filled with those of another one. */
int palimpsest_state_new(struct PalimpsestState** state);
void palimpsest_state_close(struct PalimpsestState* state);
/* Copies the array. */
int palimpsest_state_add(struct PalimpsestState* state, const struct PalimpsestArray* array);
int palimpsest_state_size(struct PalimpsestState* state, size_t* arrays);
/* Array number `index`, from 0. What it points to stays until the state is closed. */
int palimpsest_state_array(struct PalimpsestState* state, size_t index, struct PalimpsestArray* array);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
