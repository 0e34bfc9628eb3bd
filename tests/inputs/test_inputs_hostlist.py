"""Host lists expand as schedulers expand them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.inputs.cluster import NodeEntry
from optimizer.inputs.hostlist import all_hosts, duplicates, expand, folded, hosts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node7", ("node7",)),
        ("node[01-03,19]", ("node01", "node02", "node03", "node19")),
        ("n[9-11]", ("n9", "n10", "n11")),
        ("a[1-2],b", ("a1", "a2", "b")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
        ("gpu[1-2].lan, x", ("gpu1.lan", "gpu2.lan", "x")),
        ("p[099-101]", ("p099", "p100", "p101")),
    ],
)
def test_a_host_list_names_its_hosts_in_order(text: str, names: tuple[str, ...]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["node01", "node02", "node03", "node07"], "node[01-03,07]"),
        (["n9", "n10", "n11"], "n[9-11]"),
        (["n3", "n1", "n2"], "n[3,1-2]"),
        (["a", "b", "rack1-n3"], "a,b,rack1-n3"),
        (["n08", "n09", "n10", "n100"], "n[08-10,100]"),
    ],
)
def test_names_fold_into_a_host_list_in_their_order(names: list[str], text: str) -> None:
    assert folded(names) == text


@given(st.lists(st.from_regex(r"[a-c]{0,2}[0-9]{1,3}[a-c]{0,1}", fullmatch=True), min_size=1, max_size=8))
def test_a_folded_list_names_the_same_hosts(names: list[str]) -> None:
    assert list(expand(folded(names))) == names


@pytest.mark.parametrize(
    "text", ["", "node[01-16", "node]", "n[]", "n[5-1]", "n[a-b]", "n[1-9999999]", "n[1-2][1-999999]", ","]
)
def test_what_is_no_host_list_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"host list|range|shorten"):
        expand(text)


def test_a_count_numbers_nodes() -> None:
    assert hosts(NodeEntry(count=3, template="t")) == ("node1", "node2", "node3")
    assert hosts(NodeEntry(name="gpu", count=2, template="t")) == ("gpu1", "gpu2")
    assert hosts(NodeEntry(name="gpu[7-8]", count=2, template="t")) == ("gpu7", "gpu8")
    assert hosts(NodeEntry(template="t")) == ("node1",)
    with pytest.raises(ValueError, match="count says 3"):
        hosts(NodeEntry(name="gpu[7-8]", count=3, template="t"))


def test_entries_without_names_are_numbered_on() -> None:
    entries = [NodeEntry(count=2, template="a"), NodeEntry(name="x", template="b"), NodeEntry(count=1, template="c")]
    assert all_hosts(entries) == (("node1", "node2"), ("x",), ("node3",))


def test_duplicates_are_found() -> None:
    assert duplicates(["a", "b", "a", "b", "a"]) == ("a", "b")
