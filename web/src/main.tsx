/* Starts the page. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { BrowserRouter } from "react-router-dom";
import { App } from "./app/App";
import { Live } from "./live/live";
import { UploadManager } from "./upload/manager";
import { UploadsContext } from "./upload/context";
import { store } from "./store/store";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";

new Live(store).start();
const uploads = new UploadManager(store);

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Provider store={store}>
      <UploadsContext.Provider value={uploads}>
        <BrowserRouter future={{ v7_startTransition: true, v7_relativeSplatPath: true }}>
          <App />
        </BrowserRouter>
      </UploadsContext.Provider>
    </Provider>
  </StrictMode>,
);
