/* No such page. */
import Button from "@mui/material/Button";
import { Link } from "react-router-dom";
import { useWords } from "../i18n";
import { useTitle } from "../parts/useTitle";

export default function Missing() {
  const { t } = useWords();
  useTitle(t.title.missing);
  return (
    <section className="stack" data-testid="missing">
      <h1>{t.missing.heading}</h1>
      <div><Button variant="contained" component={Link} to="/">{t.missing.back}</Button></div>
    </section>
  );
}
