/* Numbers, dates and plurals in the reader's language. */
import type { Lang } from "../store/settings";

export interface Forms {
  one: string;
  few?: string;
  many?: string;
  other: string;
}

const rules = new Map<Lang, Intl.PluralRules>();

/* Picks the right form; `#` in it becomes the number. */
export function plural(lang: Lang, n: number, forms: Forms): string {
  let rule = rules.get(lang);
  if (!rule) rules.set(lang, (rule = new Intl.PluralRules(lang)));
  const name = rule.select(n);
  const form = (name === "one" || name === "few" || name === "many" ? forms[name] : undefined) ?? forms.other;
  return form.replace("#", number(lang, n));
}

const formats = new Map<string, Intl.NumberFormat>();

export function number(lang: Lang, value: number, digits = 0, options: Intl.NumberFormatOptions = {}): string {
  const key = `${lang}${digits}${JSON.stringify(options)}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(lang, { minimumFractionDigits: digits, maximumFractionDigits: digits, ...options });
    formats.set(key, format);
  }
  return format.format(value);
}

/* A log-likelihood ratio always shows its sign: that is what it says. */
export function signed(lang: Lang, value: number, digits = 2): string {
  const shown = Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value;
  return number(lang, shown, digits, { signDisplay: "exceptZero" }).replace("-", "\u2212");
}

/* Probabilities are never shown as 0 % or 100 %: the detector does not know that much. */
export function wholePercent(p: number): number {
  return Math.min(99, Math.max(1, Math.round(p * 100)));
}

export function percent(lang: Lang, p: number): string {
  return number(lang, wholePercent(p) / 100, 0, { style: "percent" });
}

export function rate(lang: Lang, value: number): string {
  return number(lang, value, 1, { style: "percent" });
}

/* 0:07, 12:04, 1:02:03; with tenths where they matter. */
export function clock(seconds: number, tenths = false): string {
  const safe = Math.max(0, Number.isFinite(seconds) ? seconds : 0);
  const unit = tenths ? Math.floor(safe * 10 + 1e-6) / 10 : Math.floor(safe + 1e-6);
  const h = Math.floor(unit / 3600);
  const m = Math.floor((unit % 3600) / 60);
  const rest = unit % 60;
  const s = tenths ? rest.toFixed(1).padStart(4, "0") : String(Math.floor(rest)).padStart(2, "0");
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
}

export function bytes(lang: Lang, value: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  let scaled = value;
  let unit = 0;
  while (scaled >= 1000 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits = unit === 0 || scaled >= 100 ? 0 : 1;
  return number(lang, scaled, digits, { style: "unit", unit: units[unit], unitDisplay: unit === 0 ? "long" : "short" });
}

export function seconds(lang: Lang, value: number): string {
  return `${number(lang, value, 1)}\u00a0${lang === "ru" ? "с" : "s"}`;
}

/* A length that reads well at any size: 0.9 s, 12.4 s, 1:02. */
export function length(lang: Lang, value: number): string {
  return value < 59.95 ? seconds(lang, value) : clock(value);
}

export function dateTime(lang: Lang, iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return "";
  return new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" }).format(date);
}

/* How long something took or is kept, in the largest unit that keeps it a small number. */
export function span(lang: Lang, value: number): string {
  const steps = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]] as const;
  const [unit, size] = steps.find(([, size]) => value >= size) ?? steps[3];
  const scaled = value / size;
  return number(lang, scaled, scaled < 10 && scaled % 1 !== 0 ? 1 : 0, { style: "unit", unit, unitDisplay: "long" });
}

/* "3 minutes ago". */
export function ago(lang: Lang, iso: string, now: number): string {
  const past = (now - Date.parse(iso)) / 1000;
  if (Number.isNaN(past)) return "";
  const format = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
  if (past < 45) return format.format(0, "second");
  if (past < 3600) return format.format(-Math.max(1, Math.round(past / 60)), "minute");
  if (past < 86400) return format.format(-Math.round(past / 3600), "hour");
  if (past < 7 * 86400) return format.format(-Math.round(past / 86400), "day");
  return dateTime(lang, iso);
}

/* Codecs by the names that people know them by. */
const CODECS: Record<string, string> = { mp3: "MP3", aac: "AAC", opus: "Opus", vorbis: "Vorbis", pcm_mulaw: "G.711", gsm_ms: "GSM" };
export const codec = (name: string): string => CODECS[name] ?? name;
