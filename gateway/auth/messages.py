"""The words of the sign-in pages, in both languages."""

from collections.abc import Mapping
from types import MappingProxyType

LANGUAGES = ("en", "zh-CN")

_EN = {
    "product": "Attest",
    "sign_in_again": "Sign in again",
    "other_account": "Sign in with another account",
    "to_start": "To the start page",
    "continue": "Continue",
    "failed.title": "Signing in did not work",
    "failed.expired": "This sign-in is too old, was already used, or was begun in another browser. "
    "Please sign in again.",
    "failed.provider": "The sign-in service ended the sign-in. Please sign in again.",
    "failed.token": "The answer of the sign-in service could not be verified, so you are not signed in. "
    "Please sign in again; if it happens once more, tell your administrator.",
    "no_role.title": "Your account has no access yet",
    "no_role.text": "You are known to the sign-in service, but your account is in none of the groups that "
    "may use Attest. Ask your administrator for access, or sign in with another account.",
    "ended.title": "Your access has ended",
    "ended.text": "Your access to Attest was ended. Ask your administrator, or sign in with another account.",
    "unavailable.title": "Signing in is not possible right now",
    "unavailable.provider": "The sign-in service does not answer now. Please try again shortly.",
    "unavailable.database": "The database does not answer now. Please try again shortly.",
    "unavailable.audit": "The audit log cannot take the record of your sign-in, so you are not signed in. "
    "Please try again shortly.",
    "signing_out.title": "Signing out",
    "signing_out.text": "You are signed out of Attest. The sign-in service is asked to sign you out, too.",
    "signed_out.title": "You are signed out",
    "signed_out.text": "Your session has ended.",
    "people.title": "Choose a person to sign in",
    "people.note": "Development provider: four demo people, no passwords, this computer only.",
    "people.groups": "Groups",
    "people.refused": "This sign-in request is not valid. Begin again from the application.",
}
_ZH = {
    "product": "Attest",
    "sign_in_again": "重新登录",
    "other_account": "使用其他账号登录",
    "to_start": "返回首页",
    "continue": "继续",
    "failed.title": "登录未成功",
    "failed.expired": "本次登录已过期、已被使用，或是在另一个浏览器中发起的。请重新登录。",
    "failed.provider": "登录服务终止了本次登录。请重新登录。",
    "failed.token": "无法验证登录服务的答复，因此您未登录。请重新登录；如再次出现，请联系管理员。",
    "no_role.title": "您的账号尚无访问权限",
    "no_role.text": "登录服务认识您，但您的账号不属于任何可以使用 Attest 的用户组。"
    "请向管理员申请权限，或使用其他账号登录。",
    "ended.title": "您的访问权限已终止",
    "ended.text": "您对 Attest 的访问权限已被终止。请联系管理员，或使用其他账号登录。",
    "unavailable.title": "目前无法登录",
    "unavailable.provider": "登录服务目前没有响应，请稍后再试。",
    "unavailable.database": "数据库目前没有应答，请稍后再试。",
    "unavailable.audit": "审计日志目前无法记录您的登录，因此您未登录。请稍后再试。",
    "signing_out.title": "正在退出",
    "signing_out.text": "您已退出 Attest，正在请登录服务一并退出。",
    "signed_out.title": "您已退出",
    "signed_out.text": "您的会话已结束。",
    "people.title": "选择登录身份",
    "people.note": "开发用登录服务：四位演示人员，无需密码，仅限本机。",
    "people.groups": "用户组",
    "people.refused": "本次登录请求无效，请从应用重新开始。",
}

CATALOGUE: Mapping[str, Mapping[str, str]] = MappingProxyType({"en": _EN, "zh-CN": _ZH})


def preferred(accept_language: str) -> str:
    """Return the language that the browser prefers of the two that we have; English where it says nothing of use."""
    best, best_weight = "en", 0.0
    for part in accept_language[:500].split(","):
        tag, _, parameters = part.strip().partition(";")
        language = {"zh": "zh-CN", "en": "en"}.get(tag.strip().lower().partition("-")[0])
        weight = _weight(parameters)
        if language is not None and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
