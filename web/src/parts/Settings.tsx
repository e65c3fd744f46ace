/* Language and appearance. */
import { useLang, useWords } from "../i18n";
import { langChosen, themeChosen, type Lang, type ThemeChoice } from "../store/settings";
import { useAppDispatch, useAppSelector } from "../store/store";

export function Settings() {
  const { t } = useWords();
  const lang = useLang();
  const theme = useAppSelector((state) => state.settings.theme);
  const dispatch = useAppDispatch();
  return (
    <div className="settings">
      <label>
        <span className="hidden">{t.settings.lang}</span>
        <select value={lang} onChange={(event) => dispatch(langChosen(event.target.value as Lang))} data-testid="lang">
          <option value="en" lang="en">English</option>
          <option value="ru" lang="ru">Русский</option>
        </select>
      </label>
      <label>
        <span className="hidden">{t.settings.theme}</span>
        <select value={theme} onChange={(event) => dispatch(themeChosen(event.target.value as ThemeChoice))} data-testid="theme">
          <option value="system">{t.settings.system}</option>
          <option value="light">{t.settings.light}</option>
          <option value="dark">{t.settings.dark}</option>
        </select>
      </label>
    </div>
  );
}
