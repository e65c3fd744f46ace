/* What stands around every view: skip link, header, connection notice, footer; and the whole page takes drops. */
import { useEffect, useRef, type ReactNode } from "react";
import { Link, NavLink, useLocation } from "react-router-dom";
import { useWords } from "../i18n";
import { useAppSelector } from "../store/store";
import { Connection } from "./Connection";
import { DropEverywhere } from "./DropEverywhere";
import { Settings } from "./Settings";

function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <path d="M3 16h4M10 11v10M15 5v22M20 9v14M25 13v6" />
      <circle cx="29" cy="16" r="2.4" />
    </svg>
  );
}

export function Frame({ children }: { children: ReactNode }) {
  const { t } = useWords();
  const version = useAppSelector((state) => state.connection.info?.version);
  const main = useRef<HTMLElement>(null);
  const { pathname } = useLocation();
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    window.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [pathname]);
  return (
    <div className="frame">
      <a className="skip" href="#main">{t.nav.skip}</a>
      <header className="top">
        <div className="top-in">
          <Link to="/" className="brand" aria-label={t.nav.home}>
            <Mark />
            <span>sonde</span>
          </Link>
          <nav aria-label={t.nav.main}>
            <NavLink to="/" end>{t.nav.check}</NavLink>
            <NavLink to="/history">{t.nav.history}</NavLink>
            <NavLink to="/about">{t.nav.about}</NavLink>
          </nav>
        </div>
      </header>
      <Connection />
      <main id="main" ref={main} tabIndex={-1}>{children}</main>
      <footer className="bottom">
        <div className="bottom-in">
          <span>sonde{version ? ` ${version}` : ""}</span>
          <a href="/docs">{t.about.apiLink}</a>
          <Settings />
        </div>
      </footer>
      <DropEverywhere />
    </div>
  );
}
