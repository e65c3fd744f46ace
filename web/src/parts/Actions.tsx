/* What can be done with an analysis: share, download, print, analyse again, delete. */
import Button from "@mui/material/Button";
import Divider from "@mui/material/Divider";
import Menu from "@mui/material/Menu";
import MenuItem from "@mui/material/MenuItem";
import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { deleteAnalysis, rerunAnalysis } from "../api/client";
import { toProblem } from "../api/problem";
import { useWords } from "../i18n";
import { errorSentences } from "../i18n/say";
import { received, removed } from "../store/analyses";
import type { Known } from "../store/merge";
import { useAppDispatch } from "../store/store";
import { Confirm } from "./Confirm";
import { copyText } from "./clipboard";
import { Icon } from "./Icon";
import { useNotice } from "./Notice";

export function Actions({ one }: { one: Known }) {
  const { t } = useWords();
  const dispatch = useAppDispatch();
  const navigate = useNavigate();
  const notice = useNotice();
  const [anchor, setAnchor] = useState<HTMLElement | null>(null);
  const [asking, setAsking] = useState(false);
  const close = () => setAnchor(null);
  const failed = (error: unknown) => {
    const problem = toProblem(error);
    notice(`${t.actions.failed} ${errorSentences(t, problem)[0]}`);
  };
  const share = async () => {
    const done = await copyText(new URL(one.links.page, location.origin).href);
    notice(done ? t.actions.shared : t.actions.copyFailed);
  };
  const rerun = async () => {
    close();
    try {
      const fresh = await rerunAnalysis(one.id);
      dispatch(received({ items: [fresh] }));
      navigate(`/a/${fresh.id}`);
    } catch (error) {
      failed(error);
    }
  };
  const remove = async () => {
    setAsking(false);
    try {
      await deleteAnalysis(one.id);
    } catch (error) {
      if (toProblem(error).status !== 404) return failed(error);
    }
    navigate("/history");
    dispatch(removed(one.id));
    notice(t.actions.removed);
  };
  const done = one.status === "done";
  const base = one.file.name.replace(/\.[^.]*$/, "").slice(0, 60) || one.id;
  return (
    <div className="actions">
      <Button variant="outlined" startIcon={<Icon name="link" />} onClick={() => void share()}>{t.actions.share}</Button>
      <Button
        id="more-button" variant="outlined" startIcon={<Icon name="more" />} aria-haspopup="menu" aria-expanded={anchor !== null}
        aria-controls={anchor ? "more-menu" : undefined} onClick={(event) => setAnchor(event.currentTarget)}
      >
        {t.actions.more}
      </Button>
      <Menu id="more-menu" anchorEl={anchor} open={anchor !== null} onClose={close} MenuListProps={{ "aria-labelledby": "more-button" }}>
        {done && <MenuItem component="a" href={`${one.links.result}?format=json`} download={`${base}.json`} onClick={close}><Icon name="down" />{t.actions.json}</MenuItem>}
        {done && <MenuItem component="a" href={`${one.links.result}?format=csv`} download={`${base}.csv`} onClick={close}><Icon name="down" />{t.actions.csv}</MenuItem>}
        {one.file.kept && <MenuItem component="a" href={one.links.audio} download={one.file.name} onClick={close}><Icon name="down" />{t.actions.audio}</MenuItem>}
        {done && <MenuItem onClick={() => { close(); setTimeout(() => window.print(), 250); }}><Icon name="print" />{t.actions.print}</MenuItem>}
        {one.file.kept && (done || one.status === "failed") && (
          <MenuItem onClick={() => void rerun()}><Icon name="retry" />{t.actions.rerun}</MenuItem>
        )}
        <Divider />
        <MenuItem onClick={() => { close(); setAsking(true); }}><Icon name="trash" />{t.actions.remove}</MenuItem>
      </Menu>
      <Confirm open={asking} title={t.actions.removeTitle} text={t.actions.removeText} yes={t.actions.remove} onNo={() => setAsking(false)} onYes={() => void remove()} />
    </div>
  );
}
