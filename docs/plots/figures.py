"""What the pictures of this folder have in common. They need python3-matplotlib."""
import pathlib

HERE = pathlib.Path(__file__).resolve().parent


def pyplot():
    """Draws the same file from the same numbers every time."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palimpsest"
    from matplotlib import pyplot as drawing
    return drawing


def save(figure, name):
    """Beside the scripts."""
    figure.tight_layout()
    figure.savefig(HERE / name, metadata={"Date": None})
    print(HERE / name)
