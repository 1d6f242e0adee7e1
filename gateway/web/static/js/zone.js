// The server writes times in the browser's own zone, once it knows it.

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";

/** Tell the server by a cookie; return whether that was news and the browser kept it. */
export function tellZone() {
  const cookie = `attest_zone=${zone}`;
  const kept = () => document.cookie.split("; ").includes(cookie);
  if (kept()) return false;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax${secure}`;
  return kept();
}
