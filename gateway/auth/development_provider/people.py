"""The four demo people of the development provider."""

import msgspec


class Person(msgspec.Struct, frozen=True):
    """One demo person; `subject` is also what one types for `attest dev-token`."""

    subject: str
    name: str
    groups: tuple[str, ...]

    def get_user_id(self) -> str:
        """Return the subject, as Authlib asks for it."""
        return self.subject


PEOPLE = (
    Person("alice", "Alice Chen", ("staff",)),
    Person("carol", "Carol Wang", ("staff", "compliance")),
    Person("sam", "Sam Li", ("staff", "security")),
    Person("ada", "Ada Zhang", ("staff", "admin")),
)


def person(subject: str | None) -> Person | None:
    """Return the person of this subject, if there is one."""
    return next((each for each in PEOPLE if each.subject == subject), None)
