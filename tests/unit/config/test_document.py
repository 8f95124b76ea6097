"""Where each key of a YAML document stands, and what is wrong with it, also in lists and behind anchors."""

from poddispatchd.config.document import DocumentFault, parse_yaml


def test_the_place_of_each_item_of_a_list_and_of_what_is_in_it_is_known() -> None:
    found = parse_yaml(
        "windows:\n  - name: night\n    days:\n      - monday\n      - tuesday\n  - name: noon\n"
    )

    assert found.faults == ()
    assert found.lines == {
        ("windows",): 1,
        ("windows", "0"): 2,
        ("windows", "0", "name"): 2,
        ("windows", "0", "days"): 3,
        ("windows", "0", "days", "0"): 4,
        ("windows", "0", "days", "1"): 5,
        ("windows", "1"): 6,
        ("windows", "1", "name"): 6,
    }


def test_a_key_that_stands_twice_in_an_item_of_a_list_is_told() -> None:
    found = parse_yaml("windows:\n  - a: 1\n  - b: 1\n    c: 2\n    b: 3\n")

    assert found.faults == (DocumentFault("windows.1.b stands twice, first on line 3", 5),)


def test_what_a_merge_brings_may_stand_here_as_well_and_keys_behind_it_are_looked_at() -> None:
    found = parse_yaml("one: &one {a: 1, b: 2}\ntwo:\n  <<: *one\n  <<: *one\n  a: 3\n  c: 4\n  c: 5\n")

    assert found.faults == (DocumentFault("two.c stands twice, first on line 6", 7),)


def test_what_an_alias_names_is_told_of_once_and_a_part_of_itself_is_no_endless_walk() -> None:
    found = parse_yaml("one: &one\n  a: 1\n  a: 2\n  me: *one\ntwo: *one\nthree: &three [*three]\n")

    assert found.faults[0] == DocumentFault("one.a stands twice, first on line 2", 3)
    assert len(found.faults) == 1
