import threading

import pytest

from audit.writers.places import Place, place_of


def test_a_place_is_held_by_one(tmp_path):
    path = place_of(tmp_path / "a.db", "w1")
    place = Place.take(path)
    with pytest.raises(BlockingIOError):
        Place.take(path)
    place.leave()
    assert not path.exists()
    Place.take(path).leave()


def test_starting_removes_the_places_of_the_dead_and_leaves_those_of_the_living(tmp_path):
    database = tmp_path / "a.db"
    place_of(database, "dead").touch()
    living = Place.take(place_of(database, "living"))
    own = Place.take_own(database, "own")
    assert {path.name for path in tmp_path.iterdir()} == {"a.db-writer-living", "a.db-writer-own"}
    own.leave()
    living.leave()


def test_many_that_start_at_once_all_get_a_place_that_is_theirs(tmp_path):
    database, places = tmp_path / "a.db", []
    gate = threading.Barrier(16)

    def start(number: int) -> None:
        gate.wait()
        places.append(Place.take_own(database, f"w{number}"))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 16
    for number in range(16):
        with pytest.raises(BlockingIOError):
            Place.take(place_of(database, f"w{number}"))
    for place in places:
        place.leave()
