/* Keeps the frame standing when a view throws. */
import Button from "@mui/material/Button";
import { Component, type ReactNode } from "react";
import { useLocation } from "react-router-dom";
import { useWords } from "../i18n";

function Broken() {
  const { t } = useWords();
  return (
    <section className="stack" role="alert">
      <h1>{t.crash.heading}</h1>
      <p>{t.crash.text}</p>
      <div>
        <Button variant="contained" onClick={() => location.reload()}>{t.crash.reload}</Button>
      </div>
    </section>
  );
}

class Boundary extends Component<{ children: ReactNode }, { broken: boolean }> {
  state = { broken: false };
  static getDerivedStateFromError() {
    return { broken: true };
  }
  render() {
    return this.state.broken ? <Broken /> : this.props.children;
  }
}

export function Guard({ children }: { children: ReactNode }) {
  const { pathname } = useLocation();
  return <Boundary key={pathname.startsWith("/a/") ? "/a" : pathname}>{children}</Boundary>;
}
