"""Which connections are kept when there are too many."""

from poddispatchd.web.connection_limits import ConnectionTable, ListenerLimits, Peer

_LIMITS = ListenerLimits(most=6, most_of_one=3, head_seconds=10, idle_seconds=60)


class _Crowd:
    def __init__(self, limits: ListenerLimits = _LIMITS) -> None:
        self.table = ConnectionTable(limits)
        self.dropped: list[Peer] = []
        self.now = 0.0

    def come(self, address: str, *, is_exempt: bool = False) -> Peer | None:
        """A new connection; None when it is not taken."""
        self.now += 1
        if not self.table.make_room(address, is_exempt=is_exempt):
            return None
        peer = Peer(address, lambda: self.dropped.append(peer), is_exempt)
        self.table.add(peer, self.now)
        return peer

    def known(self, address: str) -> Peer:
        """A runner manager's, between two callbacks."""
        peer = self.come(address)
        assert peer is not None
        self.table.works(peer)
        self.table.knows(peer)
        self.table.waits(peer, self.now)
        return peer


def test_who_has_waited_longest_makes_room() -> None:
    crowd = _Crowd()
    first, *others = (crowd.come(f"192.0.2.{number}") for number in range(6))
    assert crowd.come("192.0.2.9") is not None
    assert crowd.dropped == [first]
    assert len(crowd.table) == 6
    assert crowd.come("192.0.2.10") is not None
    assert crowd.dropped == [first, others[0]]
    assert crowd.table.dropped == 2
    assert {peer.address for peer in crowd.table} >= {"192.0.2.9", "192.0.2.10"}


def test_unauthenticated_clients_make_room_before_runner_managers() -> None:
    crowd = _Crowd()
    manager = crowd.known("192.0.2.1")
    others = [crowd.come(f"192.0.2.{number}") for number in range(10, 15)]
    for number in range(20, 30):
        assert crowd.come(f"192.0.2.{number}") is not None
    assert manager not in crowd.dropped
    assert crowd.dropped[:5] == others


def test_nobody_who_waits_for_us_is_dropped() -> None:
    crowd = _Crowd()
    for number in range(6):
        peer = crowd.come(f"192.0.2.{number}")
        assert peer is not None
        crowd.table.works(peer)
    assert crowd.come("192.0.2.9") is None
    assert crowd.dropped == []
    assert not crowd.table.drop_one()


def test_one_address_takes_no_more_than_its_share() -> None:
    crowd = _Crowd()
    other = crowd.come("192.0.2.1")
    hostile = [crowd.come("203.0.113.9") for _ in range(8)]
    assert crowd.dropped == hostile[:5]
    assert other not in crowd.dropped
    assert len(crowd.table) == 4


def test_of_one_address_too_nobody_who_waits_for_us_is_dropped() -> None:
    crowd = _Crowd()
    busy = [crowd.come("203.0.113.9") for _ in range(2)]
    for peer in busy:
        assert peer is not None
        crowd.table.works(peer)
    waiting = crowd.come("203.0.113.9")
    last = crowd.come("203.0.113.9")
    assert crowd.dropped == [waiting]
    assert last is not None
    crowd.table.works(last)
    assert crowd.come("203.0.113.9") is None
    assert crowd.dropped == [waiting]


def test_a_manager_at_the_address_of_many_unauthenticated_clients_is_none_of_them() -> None:
    crowd = _Crowd()
    manager = crowd.known("203.0.113.9")
    others = [crowd.come("203.0.113.9") for _ in range(4)]
    assert crowd.dropped == others[:1]
    # It may speak for whom it likes, however many there are of those.
    assert crowd.table.speaks_for(manager, "203.0.113.9")
    assert crowd.table.speaks_for(manager, "198.51.100.1")
    assert manager.counted is None


def test_at_the_end_whoever_is_served_or_has_just_come_is_waited_for() -> None:
    crowd = _Crowd()
    assert not crowd.table.awaits_answers(crowd.now, 1.0)
    peer = crowd.come("192.0.2.1")
    assert peer is not None
    assert crowd.table.awaits_answers(crowd.now + 0.9, 1.0)
    assert not crowd.table.awaits_answers(crowd.now + 1.0, 1.0)
    crowd.table.works(peer)
    assert crowd.table.awaits_answers(crowd.now + 100, 1.0)
    # Its answer is out: it may ask again, but has not just come.
    crowd.table.waits(peer, crowd.now)
    assert not crowd.table.awaits_answers(crowd.now, 1.0)


def test_late_ones_are_dropped_a_few_at_a_time() -> None:
    crowd = _Crowd()
    late = [crowd.come(f"192.0.2.{number}") for number in range(5)]
    assert crowd.table.drop_late(crowd.now + 20, 2) == 2
    assert crowd.dropped == late[:2]
    assert crowd.table.drop_late(crowd.now + 20, 9) == 3


def test_a_web_server_of_ours_is_not_one_address() -> None:
    crowd = _Crowd()
    for _ in range(6):
        assert crowd.come("127.0.0.1", is_exempt=True) is not None
    assert crowd.dropped == []


def test_behind_it_each_client_has_a_share() -> None:
    crowd = _Crowd()
    peers = [crowd.come("127.0.0.1", is_exempt=True) for _ in range(5)]
    heard = [peer is not None and crowd.table.speaks_for(peer, "203.0.113.9") for peer in peers]
    assert heard == [True, True, True, False, False]
    for peer in peers:
        assert peer is not None
        crowd.table.remove(peer)
    again = crowd.come("127.0.0.1", is_exempt=True)
    assert again is not None
    assert crowd.table.speaks_for(again, "203.0.113.9")


def test_a_client_cannot_use_up_the_share_of_another_address() -> None:
    crowd = _Crowd()
    for _ in range(3):
        peer = crowd.come("203.0.113.9")
        assert peer is not None
        # It says that it is somebody else, and is not believed: its own address is given here.
        assert crowd.table.speaks_for(peer, "203.0.113.9")
    assert crowd.come("198.51.100.1") is not None
    assert crowd.dropped == []


def test_runner_managers_are_not_counted_under_their_address() -> None:
    crowd = _Crowd()
    managers = [crowd.known("192.0.2.1") for _ in range(5)]
    assert crowd.come("192.0.2.1") is not None
    assert crowd.dropped == []
    assert len(managers) == 5


def test_whoever_lets_us_wait_too_long_is_dropped() -> None:
    crowd = _Crowd()
    manager, other = crowd.known("192.0.2.1"), crowd.come("192.0.2.2")
    assert crowd.table.drop_late(crowd.now + 9.9, 10) == 0
    assert crowd.table.drop_late(crowd.now + 10, 10) == 1
    assert crowd.dropped == [other]
    assert crowd.table.drop_late(crowd.now + 59, 10) == 1
    assert crowd.dropped == [other, manager]
    assert len(crowd.table) == 0


def test_a_connection_that_ended_meanwhile_is_forgotten() -> None:
    crowd = _Crowd()
    peer = crowd.come("192.0.2.1")
    assert peer is not None
    crowd.table.works(peer)
    crowd.table.remove(peer)
    crowd.table.waits(peer, crowd.now)
    assert len(crowd.table) == 0
    assert crowd.table.drop_late(crowd.now + 1000, 10) == 0
