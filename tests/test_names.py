"""Names: one registry for data sets, models, pruners and methods; nothing takes another's place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import registered
import tiny

import lth_jax
from lth_jax import datasets, models, names, pruners, training


@pytest.fixture(autouse=True)
def _forgotten():
    with registered.meanwhile():
        yield


def test_a_registry_is_shown_by_its_names():
    assert repr(lth_jax.MODELS) == f"<each model: {lth_jax.MODELS.names()}>"


def linear(shape, classes):
    def init(key):
        return {"kernel": jax.random.normal(key, (int(np.prod(shape)), classes))}, {}

    def apply(weights, state, x, train=False):
        return x.reshape(len(x), -1) @ weights["kernel"], state

    return lth_jax.Model(init, apply)


def largest(kernel_axes):
    popup = lth_jax.edge_popup(kernel_axes=kernel_axes)

    def init(key, weights):
        chosen = popup.init(key, weights)
        return jax.tree.map(lambda w, s: None if s is None else jnp.abs(w), weights, chosen)

    return popup._replace(init=init)


def few(data_dir=None):
    return tiny.dataset()._replace(name="whatever", train_size=0)


LATE = lth_jax.Method(
    "late", (lth_jax.Stage(training.METHODS["joint"].stages[0].kind, True, False),)
)
CASES = {
    "dataset": (lth_jax.DATASETS, datasets.register, few, lambda: few(), "digits"),
    "model": (lth_jax.MODELS, models.register, linear, lambda: 0, "lenet"),
    "pruner": (lth_jax.PRUNERS, pruners.register, largest, lambda: 0, "edge_popup"),
    "method": (lth_jax.METHODS, None, LATE, LATE._replace(stages=2 * LATE.stages), "prune"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_name_is_of_one_entry(what):
    registry, register, entry, other, built_in = CASES[what]
    register = register or (lambda name, method: training.register(method._replace(name=name)))
    before = list(registry)
    for name in ("prune", "../up", "a b", "", "a,b"):
        if name != "prune":
            with pytest.raises(lth_jax.InputError, match=f"^{what} must have a name of letters"):
                register(name, entry)
    register("late", entry)
    register("late", entry)
    assert list(registry) == [*before, "late"] and registry.find("late") == entry
    assert registry.is_built_in(built_in) and not registry.is_built_in("late")
    with pytest.raises(lth_jax.InputError, match=rf"{what.upper()}S.remove\('late'\) first\.$"):
        register("late", other)
    with pytest.raises(lth_jax.InputError, match=f"got '{built_in}', which is built in"):
        register(built_in, other)
    with pytest.raises(lth_jax.InputError, match=rf"^{what} must be one of .*, late, got 'early'"):
        if what != "method":
            register("late", entry)
        registry.find("early")
    with pytest.raises(KeyError):
        registry.remove(built_in)
    registry.remove("late")
    assert list(registry) == before
    register("late", other)


def test_builders_take_what_they_have_use_for():
    assert names.call(lambda shape: shape, "it", {"shape": 1, "classes": 2}, {}) == 1
    assert names.call(lambda **all: all, "it", {"a": 1}, {"b": (2, 0)}) == {"a": 1, "b": 2}
    assert names.call(lambda: 3, "it", {"a": 1}, {"b": (0, 0)}) == 3
    with pytest.raises(lth_jax.InputError, match=r"^width: model 'linear' takes none\.$"):
        names.call(linear, "model 'linear'", {"shape": 1, "classes": 2}, {"width": (2, 1)})


@pytest.mark.slow
def test_registered_names_are_what_rows_say_and_are_known_by_their_programs(tmp_path):
    datasets.register("few", few)
    models.register("linear", linear)
    pruners.register("largest", largest)
    study = lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path, plugins=["here"])
    assert study.config["plugin"] == ["here"] and study.config["program"]
    known = [study.config[name] for name in ("model", "dataset", "pruner", "width")]
    assert known == ["linear", "few", "largest", None]
    with study.hold():
        pass
    for registry, name, other, said in (
        (lth_jax.MODELS, "linear", lambda shape, classes: linear(shape, classes)._replace(
            apply=lambda w, s, x, train=False: (2 * x.reshape(len(x), -1) @ w["kernel"], s)
        ), "program"),
        (lth_jax.PRUNERS, "largest", lth_jax.edge_popup, "program"),
        (lth_jax.DATASETS, "few", lambda: few()._replace(mean=np.float32([1])), "arrays_sha256"),
    ):  # fmt: skip
        entry = registry[name]
        registry.remove(name)
        registry.register(name, other)
        with pytest.raises(lth_jax.InputError, match=f"belongs to other settings .*{said}: "):
            lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path, plugins=["here"])
        registry.remove(name)
        registry.register(name, entry)
    lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path, plugins=["here"])
    with pytest.raises(lth_jax.InputError, match=r"plugin: \['here'\] there, \[\] now"):
        lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path)
    with pytest.raises(lth_jax.InputError, match="plugins must be a list, got 'here'"):
        lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path, plugins="here")
    for model, pruner, own in (("lenet", "largest", True), ("lenet", "edge_popup", False)):
        study = lth_jax.Study(model, tiny.dataset(), pruner, tiny.CONFIG, tmp_path / "other")
        assert ("program" in study.config) == own
    with pytest.raises(lth_jax.InputError, match="^scope: pruner 'largest' takes none"):
        lth_jax.Study("linear", "few", "largest", tiny.CONFIG, tmp_path, scope="global")


def test_a_registered_data_set_is_chosen_from_as_the_librarys_are():
    datasets.register("few", few)
    whole, cut = datasets.load("few"), datasets.load("few", train_size=50, data_dir="here")
    assert (whole.name, whole.train_size, cut.train_size) == ("few", 0, 50)
    np.testing.assert_array_equal(cut.train.images, whole.train.images[:50])
    assert cut.digest() != whole.digest()
    everything = datasets.load("few", hold_out=False)
    assert len(everything.train.labels) == 128 + 300 and len(everything.validation.labels) == 0
    np.testing.assert_array_equal(everything.train.labels[128:], whole.validation.labels)
    for given, said in (
        ({"train_size": 129}, r"^train_size must lie in \[1, 128\] for few, got 129"),
        ({"mirror": "https://x"}, "^mirror: data set 'few' takes none"),
        ({"offline": True}, "^offline: data set 'few' takes none"),
    ):
        with pytest.raises(lth_jax.InputError, match=said):
            datasets.load("few", **given)


def raising(error):
    def load():
        raise error

    return load


def spoiled():
    images = np.float32(few().train.images)
    images[3] = np.nan
    return few()._replace(train=lth_jax.Split(images, few().train.labels))


@pytest.mark.parametrize(
    "loader, said",
    [
        (raising(FileNotFoundError(2, "No such file", "x.npz")), "'bad': .*No such file.*x.npz"),
        (raising(ValueError("two\nlines")), "data set 'bad': two lines$"),
        (lambda: few().train, "'bad' must be read as a Dataset, got Split"),
        (spoiled, "train images must be finite, got nan in image 3"),
    ],
)
def test_a_registered_data_set_that_cannot_be_read_is_one_line(loader, said):
    datasets.register("bad", loader)
    with pytest.raises(lth_jax.InputError, match=said) as error:
        datasets.load("bad")
    assert "\n" not in str(error.value)


def test_what_is_built_is_what_the_name_promises():
    models.register("nothing", lambda: None)
    pruners.register("nothing", lambda: None)
    with pytest.raises(lth_jax.InputError, match="'nothing' must be made as a Model, got NoneType"):
        models.build_model("nothing", (8, 8, 1), 10)
    with pytest.raises(lth_jax.InputError, match="must be made as a Pruner, got NoneType"):
        pruners.build_pruner("nothing")
    # A built-in one under another name is somebody's own: its name does not say all about it.
    models.register(
        "wide", lambda shape, classes: models.build_model("lenet", shape, classes, width=2)
    )
    wide = models.build_model("wide", (8, 8, 1), 10)
    assert wide.name == "wide" and wide.architecture is None and models.built_as(wide) is None
