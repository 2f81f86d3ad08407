import sys

import numpy
import palimpsest

run, file = sys.argv[1:]
with palimpsest.Model(run) as model:
    text = model.text("the memory of the")
    print("the likeliest token is", text.logits().argmax())
    print(text.generate(max_tokens=20, temperature=0.8, seed=7))

    # A state is a dictionary of arrays, and another text goes on from it.
    state = text.state()
    numpy.savez(file, **state)
    with numpy.load(file) as stored:
        again = model.text(state=dict(stored))
    assert (text.logits() == again.logits()).all()

    # What does not work says why.
    try:
        text.append_tokens([model.tokens])
    except palimpsest.InputError as error:
        print(error)
