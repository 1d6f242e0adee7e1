"""Personal data: identifiers of people, by pattern and check sum."""

from safety.filters import identifiers as check
from safety.filters.engine import RuleGuard, Validator
from safety.filters.rules import RULES, load_pack

VALIDATORS: dict[str, Validator] = {
    "cn_resident_id": check.cn_resident_id,
    "cn_mobile": check.cn_mobile,
    "bank_card": check.bank_card,
    "passport_listed": check.passport_listed,
    "cn_credit_code": check.cn_credit_code,
    "email": check.email,
    "phone": check.phone,
    "phone_named": check.phone_named,
    "iban": check.iban,
    "us_ssn": check.us_ssn,
    "uk_nino": check.uk_nino,
    "national_id": check.national_id,
    "ip_address": check.ip_address,
}


def personal_data() -> RuleGuard:
    """Make the guard; raise `RuleError` when the pack is damaged."""
    return RuleGuard("filters.personal_data", load_pack(RULES / "personal_data.yaml"), VALIDATORS, numbers=True)
