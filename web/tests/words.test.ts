import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { en } from "../src/i18n/en";
import { ru } from "../src/i18n/ru";
import { ago, bytes, clock, number, percent, plural, signed, span, wholePercent } from "../src/i18n/format";
import { errorsEn, errorsRu } from "../src/i18n/errors";
import { errorSentences, reasonSentence, verdictTitle } from "../src/i18n/say";
import type { Reason } from "../src/api/types";

const flat = (text: string) => text.replace(/[\u00a0\u202f]/g, " ");
const reason = (code: string, measured: number, limit = 1.5): Reason => ({ code, decides: true, measured, limit, unit: "s", text: "server text" });

describe("plurals", () => {
  const forms = { one: "# файл", few: "# файла", many: "# файлов", other: "# файла" };
  it("follows Russian", () => {
    const say = (n: number) => flat(plural("ru", n, forms));
    expect([1, 2, 5, 11, 12, 21, 22, 25, 101, 111, 1001].map(say)).toEqual([
      "1 файл", "2 файла", "5 файлов", "11 файлов", "12 файлов", "21 файл", "22 файла", "25 файлов", "101 файл", "111 файлов", "1 001 файл",
    ]);
  });
  it("follows English", () => {
    expect([0, 1, 2].map((n) => plural("en", n, { one: "# file", other: "# files" }))).toEqual(["0 files", "1 file", "2 files"]);
  });
});

describe("numbers", () => {
  it("never says 0 % or 100 %", () => {
    expect([0, 0.001, 0.5, 0.996, 1].map(wholePercent)).toEqual([1, 1, 50, 99, 99]);
    expect(flat(percent("ru", 0.874))).toBe("87 %");
    expect(percent("en", 0.874)).toBe("87%");
  });
  it("shows the sign of an LLR, and none of nothing", () => {
    expect(signed("en", 1.234)).toBe("+1.23");
    expect(signed("en", -0.0728)).toBe("\u22120.07");
    expect(signed("ru", 1.5)).toBe("+1,50");
    expect(signed("en", -0.001)).toBe("0.00");
  });
  it("writes clock times", () => {
    expect([0, 7.9, 59.99, 60, 3723].map((s) => clock(s))).toEqual(["0:00", "0:07", "0:59", "1:00", "1:02:03"]);
    expect([0.05, 59.96, 61.25].map((s) => clock(s, true))).toEqual(["0:00.0", "0:59.9", "1:01.2"]);
    expect(clock(NaN)).toBe("0:00");
  });
  it("writes sizes and spans", () => {
    expect(flat(bytes("en", 345126))).toBe("345 kB");
    expect(flat(bytes("en", 1_500_000))).toBe("1.5 MB");
    expect(flat(bytes("ru", 1_500_000))).toBe("1,5 МБ");
    expect(flat(span("en", 7 * 86400))).toBe("7 days");
    expect(flat(span("ru", 5 * 3600))).toBe("5 часов");
    expect(number("ru", 0.5, 2)).toBe("0,50");
  });
  it("says how long ago", () => {
    const now = Date.parse("2026-11-21T12:00:00Z");
    expect(ago("en", "2026-11-21T11:58:00Z", now)).toBe("2 minutes ago");
    expect(ago("ru", "2026-11-21T07:00:00Z", now)).toBe("5 часов назад");
    expect(ago("en", "?", now)).toBe("");
  });
});

describe("sentences", () => {
  it("says reasons by their code and figures, in both languages", () => {
    expect(flat(reasonSentence(en, reason("too_short", 0.88)))).toContain("only 0.9 s of speech; 1.5 s are needed");
    expect(flat(reasonSentence(ru, reason("too_short", 0.88)))).toContain("всего 0,9 с; для ответа нужно 1,5 с");
    expect(reasonSentence(ru, reason("damaged", 3))).toContain("3 части");
    expect(reasonSentence(en, reason("damaged", 1))).toContain("1 part of");
    expect(reasonSentence(ru, reason("of the future", 1))).toBe("server text");
    const parts: Reason = { ...reason("synthetic_parts", 12.3), start_s: 83.2, end_s: 3700 };
    expect(reasonSentence(en, parts)).toContain("Listen to 1:23 to 1:01:40: it sounds synthetic");
    expect(reasonSentence(ru, parts)).toContain("отрезок 1:23–1:01:40: он звучит синтетически");
    expect(reasonSentence(en, reason("disagreement", 2.1))).toContain("what is marked below: it sounds human");
  });
  it("says errors by code, else in the server's words", () => {
    expect(errorSentences(ru, { code: "not_audio", text: "x" })[0]).toBe("Содержимое – не аудио.");
    expect(errorSentences(en, { code: "odd", text: "What.", hint: "Do." })).toEqual(["What.", "Do."]);
    expect(errorSentences(en, { code: "odd", text: "" })).toEqual([en.errors.unknown[0], en.errors.unknown[1]]);
  });
  it("has words in both languages for every reason of the detector", () => {
    const table = readFileSync(new URL("../../src/detect/reason.def", import.meta.url), "utf8");
    const rows = [...table.matchAll(/^REASON_ROW\(\w+, "(\w+)", ([01])/gm)];
    expect(rows.length).toBeGreaterThan(8);
    for (const [, code, decides] of rows)
      for (const t of [en, ru]) {
        expect(reasonSentence(t, reason(code!, 2)), code).not.toBe("server text");
        if (decides === "1") expect(t.verdict.because[code!], code).toBeTruthy();
      }
  });
  it("has words in both languages for every error of the server that a person may meet", () => {
    const table = readFileSync(new URL("../../src/base/err.def", import.meta.url), "utf8");
    const codes = [...table.matchAll(/^ERR_ROW\(\w+, "(\w+)"/gm)].map((row) => row[1]!);
    /* Of the command line, or of programs only. */
    const elsewhere = ["usage", "not_a_regular_file", "bad_manifest", "upgrade_required", "data_in_use"];
    expect(codes.length).toBeGreaterThan(40);
    for (const code of codes.filter((one) => !elsewhere.includes(one)))
      for (const t of [en, ru]) expect(t.errors.byCode[code]?.every((text) => text.length > 5), code).toBe(true);
    expect(Object.keys(errorsEn).sort()).toEqual(Object.keys(errorsRu).sort());
  });
  it("names the reason in a missing verdict", () => {
    const result = { reasons: [{ ...reason("damaged", 1), decides: false }, reason("no_speech", 0)] } as never;
    expect(verdictTitle(en, { verdict: "inconclusive", result })).toBe("No verdict: no speech");
    expect(verdictTitle(en, { verdict: "inconclusive", result: null })).toBe("No verdict");
    expect(verdictTitle(ru, { verdict: "synthetic", result })).toBe("Вероятно, создано машиной");
  });
  it("leaves no placeholder and no English in the Russian dictionary", () => {
    const texts: [string, string][] = [];
    const walk = (node: unknown, path: string) => {
      if (typeof node === "string") texts.push([path, node]);
      else if (typeof node === "function") texts.push([path, String((node as (...a: number[]) => string)(2, 3, 4))]);
      else if (node && typeof node === "object") for (const [key, value] of Object.entries(node)) walk(value, `${path}.${key}`);
    };
    walk(ru, "ru");
    expect(texts.length).toBeGreaterThan(200);
    const same = /\.(stability\.names\.(mp3|aac|opus)|title\.start|details\.(llr|id)|stability\.llr|result\.scale\.here|start\.formats|about\.rate)$/;
    for (const [path, text] of texts) {
      expect(text, path).not.toMatch(/undefined|NaN|#/);
      if (!same.test(path)) expect(text, path).toMatch(/[а-яё]/i);
    }
  });
});
