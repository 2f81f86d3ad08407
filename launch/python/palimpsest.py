"""Palimpsest from Python: a trained model reads texts of any length, gives the logits of what comes next, writes on, and
puts aside what it remembers. Over the C interface of libpalimpsest.so (docs/library.md), with ctypes and NumPy alone.

    import palimpsest

    with palimpsest.Model("runs/quickstart") as model, model.text("It is a truth") as text:
        print(model.decode([text.logits().argmax()]))
        print(text.generate(max_tokens=50, temperature=0.8))
        text.save("truth.state")

The library is looked for where PALIMPSEST_LIBRARY says, beside an installed module, and where the system has libraries.
Objects may be used by several threads; computing lets go of Python's lock.
"""
import ctypes
import os
import pathlib
import threading
import warnings

import numpy

__all__ = ["Error", "ArgumentError", "InputError", "OutputError", "NumericalError", "Model", "Text", "version"]


class Error(Exception):
    """What a call of the library failed with; `code` is the program's exit code for it."""
    code = 1


class ArgumentError(Error, ValueError):
    """An option, path or size that cannot be."""
    code = 2


class InputError(Error):
    """A file, a state or a token that cannot be read or used."""
    code = 3


class OutputError(Error, OSError):
    """A file that cannot be written; an earlier one is as it was."""
    code = 4


class NumericalError(Error, ArithmeticError):
    """Logits that are not finite."""
    code = 5


_ERRORS = {kind.code: kind for kind in (Error, ArgumentError, InputError, OutputError, NumericalError)}
_FINISH = ("length", "end", "stop", "interrupted")
# By the values of PalimpsestType. NumPy has no bfloat16: its bits are uint16, which no other array of a state is.
_TYPES = tuple(map(numpy.dtype, ("float32", "uint16", "float64", "uint8", "int32", "int64")))

_Handle, _Size, _Int64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64
_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class _ModelInfo(ctypes.Structure):
    _fields_ = [(name, _Int64) for name in ("vocabulary", "tokens", "layers", "segment_length", "parameters", "step")]
    _fields_ += [("begin_token", ctypes.c_int32), ("end_token", ctypes.c_int32)]


class _Generation(ctypes.Structure):
    _fields_ = [("max_tokens", _Int64), ("temperature", ctypes.c_double), ("top_k", _Int64), ("top_p", ctypes.c_double),
                ("min_p", ctypes.c_double), ("repetition_penalty", ctypes.c_double), ("seed", ctypes.c_uint64),
                ("stop", ctypes.POINTER(ctypes.c_char_p)), ("stop_count", _Size)]


class _Decoding(ctypes.Structure):
    _fields_ = [("size", _Size), ("min_tokens", _Int64), ("no_repeat_ngram", _Int64), ("beams", _Int64),
                ("length_penalty", ctypes.c_double)]


class _Array(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int), ("axes", _Size), ("shape", ctypes.POINTER(_Int64)),
                ("data", ctypes.c_void_p), ("bytes", _Size)]


def _load():
    """The library, with the types of its functions."""
    name = "libpalimpsest.so.0"
    beside = pathlib.Path(__file__).resolve().parents[2] / name  # LIBRARIES/palimpsest/python/palimpsest.py
    library = ctypes.CDLL(os.environ.get("PALIMPSEST_LIBRARY") or (str(beside) if beside.exists() else name))
    pointer = ctypes.POINTER
    signatures = {
        "model_open": (ctypes.c_char_p, _Int64, _Int64, pointer(_Handle)),
        "model_info": (_Handle, pointer(_ModelInfo)),
        "model_warnings": (_Handle, pointer(ctypes.c_char_p)),
        "model_encode": (_Handle, ctypes.c_char_p, _Size, ctypes.c_void_p, _Size, pointer(_Size)),
        "model_decode": (_Handle, ctypes.c_void_p, _Size, ctypes.c_void_p, _Size, pointer(_Size)),
        "text_new": (_Handle, pointer(_Handle)),
        "text_open": (_Handle, ctypes.c_char_p, pointer(_Handle)),
        "text_copy": (_Handle, pointer(_Handle)),
        "text_append": (_Handle, ctypes.c_char_p, _Size),
        "text_append_tokens": (_Handle, ctypes.c_void_p, _Size),
        "text_read": (_Handle,),
        "text_position": (_Handle, pointer(_Int64), pointer(_Int64)),
        "text_logits": (_Handle, ctypes.c_void_p, _Size),
        "text_generate_decoding": (_Handle, pointer(_Generation), pointer(_Decoding), _Write, ctypes.c_void_p,
                                   pointer(_Int64), pointer(ctypes.c_int)),
        "decoding_defaults": (pointer(_Decoding), _Size),
        "text_flush": (_Handle, _Write, ctypes.c_void_p),
        "text_save": (_Handle, ctypes.c_char_p),
        "text_state": (_Handle, pointer(_Handle)),
        "text_from_state": (_Handle, _Handle, pointer(_Handle)),
        "state_new": (pointer(_Handle),),
        "state_add": (_Handle, pointer(_Array)),
        "state_size": (_Handle, pointer(_Size)),
        "state_array": (_Handle, _Size, pointer(_Array)),
    }
    for function, arguments in signatures.items():
        getattr(library, f"palimpsest_{function}").argtypes = arguments
    for kind in ("model", "text", "state"):
        close = getattr(library, f"palimpsest_{kind}_close")
        close.argtypes, close.restype = (_Handle,), None
    library.palimpsest_generation_defaults.argtypes = (pointer(_Generation),)
    library.palimpsest_generation_defaults.restype = None
    library.palimpsest_version.restype = library.palimpsest_last_error.restype = ctypes.c_char_p
    return library


_library = _load()


def version():
    """Of the library, "0.1.0"."""
    return _library.palimpsest_version().decode()


def _call(function, *arguments):
    code = getattr(_library, f"palimpsest_{function}")(*arguments)
    if code != 0:
        raise _ERRORS.get(code, Error)(_library.palimpsest_last_error().decode(errors="replace"))


def _new(function, *arguments):
    """The handle that a function makes."""
    handle = _Handle()
    _call(function, *arguments, ctypes.byref(handle))
    return handle


def _path(path):
    name = os.fsencode(path)
    if b"\0" in name:
        raise ArgumentError("a path with a zero byte")
    return name


def _tokens(tokens):
    """As the library takes them: a number that is none of int32's is no token."""
    values = numpy.asarray(tokens)
    if values.size == 0:
        return numpy.zeros(0, numpy.int32)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ArgumentError(f"tokens of type {values.dtype} and shape {values.shape}: expected a row of whole numbers")
    limits = numpy.iinfo(numpy.int32)
    if values.min() < limits.min or values.max() > limits.max:
        raise InputError(f"tokens from {values.min()} to {values.max()}: expected numbers below the vocabulary's size")
    return numpy.ascontiguousarray(values, numpy.int32)


class _Object:
    """Owns a handle. Calls with it come one after the other, so `close` meets none under way."""

    def __init__(self, kind, handle):
        self._kind, self._handle, self._lock, self._calling_back = kind, handle, threading.RLock(), False

    def _call(self, function, *arguments):
        with self._lock:
            _call(f"{self._kind}_{function}", self._open(), *arguments)

    def _open(self):
        if not self._handle:
            raise ArgumentError(f"the {self._kind} is closed")
        return self._handle

    def close(self):
        """Gives the memory back; does nothing the second time."""
        with self._lock:
            if self._calling_back:
                raise ArgumentError(f"the {self._kind} cannot be closed by what it calls")
            handle, self._handle = self._handle, None
            if handle:
                getattr(_library, f"palimpsest_{self._kind}_close")(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_handle", None) and _library:
            self.close()


class Model(_Object):
    """A trained model. `path`: a checkpoint, a run directory or the configuration of a run, then its checkpoint of
    `step`, or the newest one. `threads` compute; 0 stands for OMP_NUM_THREADS, or else the cores there are."""

    def __init__(self, path, step=0, threads=0):
        super().__init__("model", _new("model_open", _path(path), step, threads))
        info, text = _ModelInfo(), ctypes.c_char_p()
        self._call("info", ctypes.byref(info))
        self._call("warnings", ctypes.byref(text))
        #: Logits that the model gives; tokens of text are fewer (`tokens`) where the tokenizer has fewer.
        self.vocabulary, self.tokens = info.vocabulary, info.tokens
        self.layers, self.segment_length, self.parameters = info.layers, info.segment_length, info.parameters
        #: Of the training that the checkpoint is of.
        self.step = info.step
        self.begin_token, self.end_token = info.begin_token, info.end_token
        if text.value:
            warnings.warn(text.value.decode(errors="replace"), stacklevel=2)

    def encode(self, text):
        """The tokens of a text, int32, without begin and end."""
        content, count = text.encode(), _Size()
        tokens = numpy.empty(len(content) + 1, numpy.int32)
        for _ in range(2):
            self._call("encode", content, len(content), tokens.ctypes.data, tokens.size, ctypes.byref(count))
            if count.value <= tokens.size:
                break
            tokens = numpy.empty(count.value, numpy.int32)
        return tokens[:count.value].copy()

    def decode(self, tokens):
        """The text of tokens; bytes that are no character become U+FFFD."""
        values, count = _tokens(tokens), _Size()
        self._call("decode", values.ctypes.data, values.size, None, 0, ctypes.byref(count))
        content = ctypes.create_string_buffer(count.value or 1)
        self._call("decode", values.ctypes.data, values.size, content, count.value, ctypes.byref(count))
        return content.raw[:count.value].decode(errors="replace")

    def text(self, start="", *, state=None):
        """A text at the start of a document, or one that goes on from a state (Text.state), and then with `start`."""
        if state is None:
            with self._lock:
                text = Text(self.vocabulary, _new("text_new", self._open()))
        else:
            text = self._from_state(state)
        if start:
            text.append(start)
        return text

    def open_text(self, path):
        """A text that goes on with what Text.save, or `palimpsest generate --save-state`, has written."""
        with self._lock:
            return Text(self.vocabulary, _new("text_open", self._open(), _path(path)))

    def _from_state(self, arrays):
        with _Object("state", _new("state_new")) as state:
            for name, values in arrays.items():
                values = numpy.asarray(values)
                if values.dtype not in _TYPES:
                    raise ArgumentError(f"the state's array {name} is of type {values.dtype}, which none has")
                content = values.tobytes()
                shape = (_Int64 * values.ndim)(*values.shape)
                state._call("add", ctypes.byref(_Array(name.encode(), _TYPES.index(values.dtype), values.ndim, shape,
                                                       ctypes.cast(content, ctypes.c_void_p), len(content))))
            with self._lock:
                return Text(self.vocabulary, _new("text_from_state", self._open(), state._open()))


class Text(_Object):
    """What a model has read, and what comes next. Made by a Model, which may be closed before it."""

    def __init__(self, vocabulary, handle):
        super().__init__("text", handle)
        self._vocabulary = vocabulary
        #: How many tokens the last `generate` added, and why it ended: "length", "end", "stop" or "interrupted".
        self.generated, self.finish = 0, None

    def append(self, text):
        """The text goes on with this, which the model reads when it is needed."""
        content = text.encode()
        self._call("append", content, len(content))

    def append_tokens(self, tokens):
        values = _tokens(tokens)
        self._call("append_tokens", values.ctypes.data, values.size)

    def read(self):
        """Reads what is unread now."""
        self._call("read")

    def position(self):
        """Tokens that the model has read, the begin token included, and those that it has not."""
        read, unread = _Int64(), _Int64()
        self._call("position", ctypes.byref(read), ctypes.byref(unread))
        return read.value, unread.value

    def logits(self):
        """Of the next token, float32, over the model's vocabulary. Reads what is unread."""
        values = numpy.empty(self._vocabulary, numpy.float32)
        self._call("logits", values.ctypes.data, values.size)
        return values

    def generate(self, max_tokens=None, *, write=None, flush=True, stop=(), **choosing):
        """Continues the text and returns what was added. `choosing`: temperature, top_k, top_p, min_p,
        repetition_penalty, seed, min_tokens, no_repeat_ngram, beams, length_penalty. `write` is called with each piece as it comes; True from it ends the generation. With
        flush=False, what may become a character or a stop text is held back, as a generation that goes on from here
        wants it. Why it ended, and after how many tokens, is in `finish` and `generated`."""
        options, decoding = _Generation(), _Decoding()
        _library.palimpsest_generation_defaults(ctypes.byref(options))
        _call("decoding_defaults", ctypes.byref(decoding), ctypes.sizeof(decoding))
        holders = {name: holder for holder in (options, decoding) for name, _ in holder._fields_}
        for name, value in choosing.items() | ({} if max_tokens is None else {"max_tokens": max_tokens}).items():
            if name not in holders or name in ("stop", "stop_count", "size"):
                raise TypeError(f"generate has no option {name}")
            setattr(holders[name], name, value)
        texts = [text.encode() for text in ([stop] if isinstance(stop, str) else stop)]
        if any(b"\0" in text for text in texts):
            raise ArgumentError("a stop text with a zero byte")
        options.stop, options.stop_count = (ctypes.c_char_p * len(texts))(*texts), len(texts)
        tokens, finish = _Int64(), ctypes.c_int()
        with self._lock:
            pieces = self._collect("generate_decoding", write, ctypes.byref(options), ctypes.byref(decoding),
                                   after=(ctypes.byref(tokens), ctypes.byref(finish)))
            self.generated, self.finish = tokens.value, _FINISH[finish.value]
            if flush and self.finish != "stop":
                pieces += self._collect("flush", write)
        return "".join(pieces)

    def flush(self):
        """What was held back, when nothing comes after it."""
        return "".join(self._collect("flush", None))

    def copy(self):
        """A text with the same past, which goes on apart."""
        with self._lock:
            return Text(self._vocabulary, _new("text_copy", self._open()))

    def save(self, path):
        """Writes a file from which Model.open_text goes on, bit for bit."""
        self._call("save", _path(path))

    def state(self):
        """All that is remembered, as arrays by name (docs/file-formats.md, "States of a text"); Model.text(state=...) goes
        on from it. bfloat16 numbers are uint16."""
        with self._lock:
            handle = _new("text_state", self._open())
        arrays, size, array = {}, _Size(), _Array()
        with _Object("state", handle) as state:
            state._call("size", ctypes.byref(size))
            for index in range(size.value):
                state._call("array", index, ctypes.byref(array))
                content = ctypes.string_at(array.data, array.bytes) if array.bytes else b""
                shape = array.shape[:array.axes] if array.axes else []
                arrays[array.name.decode()] = numpy.frombuffer(content, _TYPES[array.type]).reshape(shape).copy()
        return arrays

    def _collect(self, function, write, *arguments, after=()):
        """The pieces that a function hands out. An exception of `write` ends it and is raised here."""
        pieces, raised = [], []

        def receive(_, content, count):
            try:
                pieces.append(ctypes.string_at(content, count).decode())
                return bool(write and write(pieces[-1]))
            except BaseException as error:  # no exception can leave a callback
                raised.append(error)
                return 1

        with self._lock:
            callback, self._calling_back = _Write(receive), True
            try:
                self._call(function, *arguments, callback, None, *after)
            finally:
                self._calling_back = False
        if raised:
            raise raised[0]
        return pieces
