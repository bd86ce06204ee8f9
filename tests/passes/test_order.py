"""Where each pass stands: the order of today, pinned, and how slots are resolved."""

from __future__ import annotations

import pytest

from knight import passes as package, registry
from knight.entry_points import EntryPoint
from knight.errors import ConfigError
from knight.passes import ORDER, TIDY, order, passes, tidy_order
from knight.registry import Registry

ROUND = "fold_constants fold_shapes eliminate_identity deduplicate remove_unused infer_shapes"
SPELLINGS = "pad_without_unsqueeze pad_from_concat merge_slices reduce_before_transpose flatten_from_reshape"
WHOLE = f"""
clean_interface name_nodes crop_outputs infer_shapes fold_shapes infer_shapes raise_opset clean_interface
name_nodes static_batch infer_shapes {ROUND} {SPELLINGS} {ROUND} fuse_layer_norm fuse_normalization
global_pool_from_reduce fuse_gelu fuse_activations fold_batch_norm gemm_from_matmul_add
gemm_from_batched_matmul fold_pad normalize_input fold_batch_norm {ROUND} sort name_nodes
""".split()
CONVERTED = f"""
clean_interface name_nodes infer_shapes fold_shapes infer_shapes raise_opset clean_interface name_nodes
infer_shapes {ROUND} {SPELLINGS} {ROUND} fold_batch_norm {ROUND} sort name_nodes
""".split()


def test_the_order_is_what_it_was() -> None:
    """Else results change their bytes. Passes that came later say their slot, and their own tests pin it."""
    assert [name for name in order() if name in WHOLE] == WHOLE == list(ORDER)
    assert [name for name in tidy_order() if name in WHOLE] == CONVERTED == list(TIDY)


def test_every_pass_has_a_place_and_one_alone_to_say_it() -> None:
    assert set(order()) == set(passes.names())
    for name in ORDER:
        assert passes.declared(name, "after") is None and passes.declared(name, "before") is None, name


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch):
    """Makes another distribution add passes: name -> what its module says."""

    def add(**says: dict[str, object]) -> None:
        entries = tuple(EntryPoint("knight.passes", name, f"their_{name}:run", "their 3") for name in says)
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)
        monkeypatch.setattr(package, "passes", Registry("pass", "knight.passes", "knight.passes", "run"))
        monkeypatch.setattr(EntryPoint, "load", lambda entry: lambda model, options: 0)
        real = Registry.declared

        def declared(self, name: str, attribute: str, default: object = None) -> object:
            return (
                says[name].get(attribute, default) if name in says else real(self, name, attribute, default)
            )

        monkeypatch.setattr(Registry, "declared", declared)

    return add


MINE = ("mine", "other", "a", "b", "c", "d")


def seen(resolved: tuple[str, ...]) -> list[str]:
    """The pinned passes and those of the test; others may have come since."""
    return [name for name in resolved if name in (*WHOLE, *MINE)]


def around(name: str, resolved: tuple[str, ...]) -> list[tuple[str, str]]:
    """The neighbours of each place of a pass."""
    known = seen(resolved)
    return [(known[place - 1], known[place + 1]) for place, one in enumerate(known) if one == name]


def test_a_pass_stands_beside_its_slot(added) -> None:
    added(mine={"after": "fuse_gelu"}, other={"before": "crop_outputs"})
    assert around("mine", order()) == [("fuse_gelu", "fuse_activations")]
    assert around("other", order()) == [("name_nodes", "crop_outputs")]
    assert [name for name in order() if name in WHOLE] == WHOLE
    assert seen(tidy_order()) == CONVERTED


def test_beside_a_pass_of_a_round_it_is_part_of_each(added) -> None:
    added(mine={"after": "deduplicate"})
    assert around("mine", order()) == [("deduplicate", "remove_unused")] * 3


def test_several_at_one_side_and_chains_have_one_order(added) -> None:
    says = {
        "b": {"after": "fuse_gelu"},
        "a": {"after": "fuse_gelu"},
        "c": {"after": "a"},
        "d": {"before": "a"},
    }
    added(**says)
    wanted = ["fuse_gelu", "d", "a", "c", "b", "fuse_activations"]
    place = WHOLE.index("fuse_gelu")
    assert seen(order())[place : place + 6] == wanted
    added(**dict(reversed(says.items())))
    assert seen(order())[place : place + 6] == wanted


def test_for_converted_models_it_has_to_say_so(added) -> None:
    added(mine={"after": "merge_slices", "tidies": True}, other={"after": "merge_slices"})
    assert around("mine", tidy_order()) == [("merge_slices", "reduce_before_transpose")]
    assert "other" not in tidy_order() and "other" in order()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"mine": {}}, r"^pass 'mine' \(their 3\) has to say where it stands: write after = "),
        ({"mine": {"after": "sort", "before": "sort"}}, "has to say where it stands"),
        ({"mine": {"after": ("sort",)}}, "has to say where it stands"),
        (
            {"mine": {"after": "fuse_gelo"}},
            r"'mine' \(their 3\) is to stand after 'fuse_gelo', and no pass is called so: did you mean",
        ),
        ({"mine": {"after": "other"}, "other": {"before": "nowhere"}}, "'other' .* before 'nowhere', and no"),
        ({"mine": {"after": "mine"}}, "'mine' .* is to stand after 'mine', which leads round in a circle"),
        ({"a": {"after": "b"}, "b": {"before": "a"}}, "'a' .* is to stand after 'b', which leads round"),
    ],
)
def test_what_cannot_be_placed_is_named(added, says: dict[str, dict[str, object]], words: str) -> None:
    added(**says)
    with pytest.raises(ConfigError, match=words):
        order()


def test_a_slot_that_converted_models_do_not_pass_is_named(added) -> None:
    added(mine={"after": "fuse_gelu", "tidies": True})
    assert "mine" in order()
    with pytest.raises(ConfigError, match="after 'fuse_gelu', and no pass for converted models is called so"):
        tidy_order()
