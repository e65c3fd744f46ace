/* The dictionary and formats for the language in use. */
import { useMemo } from "react";
import { useAppSelector } from "../store/store";
import { browserLang, type Lang } from "../store/settings";
import { en, type Dict } from "./en";
import * as format from "./format";
import { ru } from "./ru";

const dictionaries: Record<Lang, Dict> = { en, ru };

export function useLang(): Lang {
  return useAppSelector((state) => state.settings.lang) ?? browserLang(navigator.language);
}

export interface Words {
  t: Dict;
  lang: Lang;
  percent: (p: number) => string;
  share: (part: number) => string;
  number: (value: number, digits?: number) => string;
  signed: (value: number, digits?: number) => string;
  bytes: (value: number) => string;
  seconds: (value: number) => string;
  length: (value: number) => string;
  dateTime: (iso: string) => string;
  ago: (iso: string, now: number) => string;
}

export function words(lang: Lang): Words {
  return {
    t: dictionaries[lang],
    lang,
    percent: (p) => format.percent(lang, p),
    share: (part) => format.number(lang, part, 0, { style: "percent" }),
    number: (value, digits) => format.number(lang, value, digits),
    signed: (value, digits) => format.signed(lang, value, digits),
    bytes: (value) => format.bytes(lang, value),
    seconds: (value) => format.seconds(lang, value),
    length: (value) => format.length(lang, value),
    dateTime: (iso) => format.dateTime(lang, iso),
    ago: (iso, now) => format.ago(lang, iso, now),
  };
}

export function useWords(): Words {
  const lang = useLang();
  return useMemo(() => words(lang), [lang]);
}
